//! The log's levels, shown by `vlog/list` and changed live by `vlog/set`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Modules as `vlog/set` names them, and the paths of their code.
const MODULES: [(&str, &str); 12] = [
    ("config", "megaflow::config"),
    ("control", "megaflow::control"),
    ("daemon", "megaflow::daemon"),
    ("engine", "megaflow::runtime::engine"),
    ("http", "megaflow::http"),
    ("record", "megaflow::record"),
    ("runtime", "megaflow::runtime"),
    ("listeners", "megaflow::listeners"),
    ("hostdp", "hostdp"),
    ("pipeline", "pipeline"),
    ("tc-flower", "tc_flower"),
    ("vfio", "vfio"),
];

/// OVS's levels, and the level of ours for each.
const LEVELS: [(&str, &str); 6] = [
    ("off", "off"),
    ("emer", "error"),
    ("err", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("dbg", "debug"),
];

const TABLE_HEAD: &str = concat!(
    "                 console    syslog    file\n",
    "                 -------    ------    ------\n",
);

type Apply = dyn Fn(EnvFilter) + Send + Sync;

/// The levels that are in force. Cheap to clone.
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
    /// Writes the process's log to stderr, from `info` up, without colour. To be called once.
    pub fn install() -> Result<Log, TryInitError> {
        let levels = Levels { all: "info", modules: BTreeMap::new() };
        let (filter, handle) = reload::Layer::new(EnvFilter::new(levels.directives()));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        // The reload fails only when the subscriber is gone, but the subscriber lives as long as
        // the process.
        let apply = move |filter| drop(handle.reload(filter));
        Ok(Log { levels: Arc::new(Mutex::new(levels)), apply: Arc::new(apply) })
    }

    /// Makes levels that are kept but reach no log: for tests, and for a process with another
    /// subscriber.
    #[must_use]
    pub fn detached() -> Log {
        let levels = Levels { all: "info", modules: BTreeMap::new() };
        Log { levels: Arc::new(Mutex::new(levels)), apply: Arc::new(drop) }
    }

    /// Takes OVS's specs. The words of a spec are separated by `:`, spaces or commas; each is a
    /// level, a module or `any`, or the destination `console`. A spec without a level means
    /// `dbg`. If one spec is wrong, no level changes.
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

    /// Returns the levels by module, in OVS's form. The log goes to the console only.
    #[must_use]
    pub fn table(&self) -> String {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut modules = MODULES;
        modules.sort_unstable();
        let lines = modules.map(|(name, path)| {
            let level = levels.modules.get(path).copied().unwrap_or(levels.all);
            // If OVS has several words for one level of ours, the last one is shown.
            let word = LEVELS.iter().rev().find(|(_, ours)| *ours == level);
            let word = word.map_or(level, |(word, _)| word).to_ascii_uppercase();
            format!("{name:<16}  {word:>4}       {0:>4}       {0:>4}\n", "OFF")
        });
        TABLE_HEAD.to_owned() + &lines.concat()
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
            (&["engine:off", "hostdp"], "info,hostdp=debug,megaflow::runtime::engine=off"),
            (&["tc-flower err", "any:info"], "info"),
            (&[], "debug"),
        ] {
            assert_eq!(after(specs).as_deref(), Ok(want), "{specs:?}");
        }
        for bad in ["wran", "engine:vfio:dbg", "syslog:info", "info:dbg"] {
            assert!(after(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn levels_are_shown_as_they_were_set() {
        let log = Log::detached();
        let level = |module: &str| {
            let table = log.table();
            let line = table.lines().find(|line| line.starts_with(module)).unwrap();
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(level("engine"), "INFO OFF OFF");
        log.set(&["engine:emer".to_owned(), "vfio:off".to_owned()]).unwrap();
        assert_eq!(level("engine"), "ERR OFF OFF");
        assert_eq!(level("vfio"), "OFF OFF OFF");
        assert_eq!(level("http"), "INFO OFF OFF");
        log.set(&[]).unwrap();
        assert_eq!(level("engine"), "DBG OFF OFF");
        assert_eq!(log.table().lines().count(), 2 + MODULES.len());
    }

    /// Each module that writes to the log has a name in the table.
    #[test]
    fn every_module_that_logs_is_listed() {
        let mut pending = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        let root = pending[0].clone();
        let mut found = 0;
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let levels = ["error", "warn", "info", "debug", "trace"];
            if levels.iter().any(|level| text.contains(&format!("tracing::{level}!("))) {
                let module = path.strip_prefix(&root).unwrap().iter().next().unwrap();
                let module = module.to_str().unwrap().trim_end_matches(".rs");
                let path = format!("megaflow::{module}");
                assert!(MODULES.iter().any(|(_, listed)| *listed == path), "{path}");
                found += 1;
            }
        }
        assert!(found > 4, "the search finds them");
    }
}
