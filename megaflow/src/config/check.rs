//! Checks that concern more than one section.

use std::collections::{BTreeMap, BTreeSet};

use super::section::Source;
use super::{Card, Config, ConfigError, PortSettings, ProviderKind};

pub(super) fn check(config: &Config, source: Source<'_>) -> Result<(), ConfigError> {
    unique_ports(config).and_then(|()| providers(config)).map_err(|message| source.whole(message))
}

fn unique_ports(config: &Config) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    let mut interfaces = BTreeMap::new();
    for port in &config.ports {
        let name = &port.name;
        if !names.insert(name) {
            return Err(format!("two ports are named '{name}'"));
        }
        if let Some(other) = numbers.insert(port.id, name) {
            return Err(format!("the ports '{other}' and '{name}' both have number {}", port.id));
        }
        let interface = match &port.kind {
            PortSettings::System { device, .. } => Some(device.to_string()),
            PortSettings::Internal => Some(name.clone()),
            PortSettings::Tap(interface) => Some(interface.clone()),
            PortSettings::Fpga { device, .. } => device.clone(),
            PortSettings::Pcap { .. } => None,
        };
        if let Some(interface) = interface
            && let Some(other) = interfaces.insert(interface.clone(), name)
        {
            return Err(format!("the ports '{other}' and '{name}' both use {interface}"));
        }
    }
    Ok(())
}

fn providers(config: &Config) -> Result<(), String> {
    let mut kinds = BTreeSet::new();
    for provider in &config.providers {
        let kind = provider.kind.name();
        if !kinds.insert(kind) {
            return Err(format!("two providers of kind {kind}: one of each kind for now"));
        }
    }
    let card = config.providers.iter().find_map(|provider| match &provider.kind {
        ProviderKind::Fpga(card) => Some(card),
        ProviderKind::Tc => None,
    });
    let mut wires = BTreeMap::new();
    for port in &config.ports {
        let PortSettings::Fpga { wire, device } = &port.kind else { continue };
        let name = &port.name;
        let Some(card) = card else {
            return Err(format!(
                "port '{name}' is of type fpga, but there is no [[provider]] of kind fpga"
            ));
        };
        if let Some(other) = wires.insert(*wire, name) {
            return Err(format!("the ports '{other}' and '{name}' are both wire {wire}"));
        }
        match (card, device) {
            (Card::Model { .. }, None) => {
                return Err(format!(
                    "port '{name}': the model's wire {wire} needs an interface to attach to: \
                     add device = \"INTERFACE\""
                ));
            }
            (Card::Pci(_), Some(_)) => {
                return Err(format!(
                    "port '{name}': 'device' is for the model only; a card has its own wires"
                ));
            }
            (Card::Model { .. }, Some(_)) | (Card::Pci(_), None) => {}
        }
    }
    Ok(())
}
