//! What an engine is made of.

use std::sync::Arc;
use std::time::Duration;

use flow::{Admission, Client};
use offload::{Budget, ByRate, Engine, Settings};
use pipeline::{l2, none};
use serde::{Deserialize, Serialize};

/// What an engine is made of, as data, so that a recording can make the same one again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// Who answers upcalls.
    pub client: ClientSetup,
    /// The engine's own settings.
    pub settings: Settings,
    /// The hardware providers in their order.
    pub providers: Vec<ProviderSetup>,
}

/// A client and its settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ClientSetup {
    /// The MAC-learning switch.
    L2 {
        /// Time after which an address that was not seen again is forgotten.
        ageing: Duration,
        /// Largest number of addresses that are remembered.
        max_entries: usize,
    },
    /// No client: megaflows come from operators alone.
    None,
}

/// A hardware provider as the engine is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderSetup {
    /// The provider's name.
    pub name: String,
    /// The number of megaflows that the engine may install in it in a second.
    pub inserts_per_second: u32,
}

impl Setup {
    /// Makes the engine, with an admission for each provider.
    #[must_use]
    pub fn engine(&self, admissions: &[Arc<dyn Admission>]) -> Engine {
        let client: Box<dyn Client> = match self.client {
            ClientSetup::L2 { ageing, max_entries } => {
                Box::new(l2::Switch::new(l2::L2Settings { ageing, max_entries }))
            }
            ClientSetup::None => Box::new(none::NoClient),
        };
        let mut engine = Engine::new(self.settings.clone(), client, Box::new(ByRate));
        for (provider, admission) in self.providers.iter().zip(admissions) {
            let budget = Budget::new(provider.inserts_per_second);
            engine.add_hardware(&provider.name, admission.clone(), budget);
        }
        engine
    }
}
