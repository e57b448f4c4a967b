//! The log's levels, changed live by `vlog/set`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Modules as `vlog/set` names them, and the code that they stand for.
const MODULES: [(&str, &str); 9] = [
    ("config", "offload::config"),
    ("control", "offload::control"),
    ("engine", "offload::engine"),
    ("http", "offload::http"),
    ("runtime", "offload::runtime"),
    ("hostdp", "hostdp"),
    ("pipeline", "pipeline"),
    ("tc-flower", "tc_flower"),
    ("vfio", "vfio"),
];

/// OVS's levels, and ours.
const LEVELS: [(&str, &str); 6] = [
    ("off", "off"),
    ("emer", "error"),
    ("err", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("dbg", "debug"),
];

type Apply = dyn Fn(EnvFilter) + Send + Sync;

/// The levels that hold now. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    levels: Arc<Mutex<Levels>>,
    apply: Arc<Apply>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Levels {
    all: &'static str,
    modules: BTreeMap<&'static str, &'static str>,
}

impl Levels {
    fn directives(&self) -> String {
        let modules = self.modules.iter().map(|(module, level)| format!(",{module}={level}"));
        self.all.to_owned() + &modules.collect::<String>()
    }
}

impl Log {
    /// Writes the process's log to stderr, from `info` up, without colour; to be called once.
    pub fn install() -> Result<Log, TryInitError> {
        let levels = Levels { all: "info", modules: BTreeMap::new() };
        let (filter, handle) = reload::Layer::new(EnvFilter::new(levels.directives()));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        // Fails only when the subscriber is gone; it lives as long as the process.
        let apply = move |filter| drop(handle.reload(filter));
        Ok(Log { levels: Arc::new(Mutex::new(levels)), apply: Arc::new(apply) })
    }

    /// Levels that are kept but reach no log: for tests, and where another subscriber is
    /// installed.
    #[must_use]
    pub fn detached() -> Log {
        let levels = Levels { all: "info", modules: BTreeMap::new() };
        Log { levels: Arc::new(Mutex::new(levels)), apply: Arc::new(drop) }
    }

    /// Takes OVS's specs: words apart by `:` or spaces, each a level, a module or `any`, or the
    /// destination `console`. A spec without a level means `dbg`. All of them hold or none.
    pub fn set(&self, specs: &[String]) -> Result<(), String> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = levels.clone();
        if specs.is_empty() {
            wanted = Levels { all: "debug", modules: BTreeMap::new() };
        }
        for spec in specs {
            apply_spec(&mut wanted, spec)?;
        }
        (self.apply)(EnvFilter::new(wanted.directives()));
        *levels = wanted;
        Ok(())
    }
}

fn apply_spec(levels: &mut Levels, spec: &str) -> Result<(), String> {
    let (mut level, mut module) = (None, None);
    for word in spec.split([':', ' ', ',']).filter(|word| !word.is_empty()) {
        let low = word.to_ascii_lowercase();
        let find = |table: &[(&'static str, &'static str)]| {
            table.iter().find(|(name, _)| *name == low).map(|(_, value)| *value)
        };
        if let Some(found) = find(&LEVELS) {
            if level.replace(found).is_some() {
                return Err(format!("'{spec}' names two levels"));
            }
        } else if let Some(found) = find(&MODULES) {
            if module.replace(found).is_some() {
                return Err(format!("'{spec}' names two modules"));
            }
        } else if low == "syslog" || low == "file" {
            return Err(format!("no destination \"{low}\": the log goes to the console only"));
        } else if low != "any" && low != "console" {
            let modules: Vec<&str> = MODULES.iter().map(|(name, _)| *name).collect();
            let list = modules.join(", ");
            return Err(format!("no level, destination or module \"{word}\" (modules: {list})"));
        }
    }
    let level = level.unwrap_or("debug");
    match module {
        Some(module) => {
            levels.modules.insert(module, level);
        }
        None => *levels = Levels { all: level, modules: BTreeMap::new() },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(specs: &[&str]) -> Result<String, String> {
        let log = Log::detached();
        let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
        log.set(&specs)?;
        let levels = log.levels.lock().unwrap();
        Ok(levels.directives())
    }

    #[test]
    fn specs_are_read_as_ovs_reads_them() {
        for (specs, want) in [
            (&["warn"][..], "warn"),
            (&["ANY:console:dbg"], "debug"),
            (&["engine:off", "hostdp"], "info,hostdp=debug,offload::engine=off"),
            (&["tc-flower err", "any:info"], "info"),
            (&[], "debug"),
        ] {
            assert_eq!(after(specs).as_deref(), Ok(want), "{specs:?}");
        }
        for bad in ["wran", "engine:vfio:dbg", "syslog:info", "info:dbg"] {
            assert!(after(&[bad]).is_err(), "{bad}");
        }
    }
}
