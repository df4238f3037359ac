//! An aliases file of any octets, and where its names lead: there is an end, within the limits, and no name
//! twice.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use pillarbox::config::Config;
use pillarbox::limits::ALIAS_TARGETS;
use pillarbox::relay::aliases::Table;
use pillarbox::relay::expansion::Expansion;

fuzz_target!(|data: &[u8]| {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let file = "local_domains = [\"home.test\"]\n[[route]]\nto = [\"home.test\"]\nvia = \"discard\"\n";
        Config::parse(file, "host.test").expect("a configuration")
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(table) = Table::parse(text, config) else { return };
    let names = ["a", "b", "info", "a+b", "nobody", "postmaster"].map(|name| format!("{name}@home.test"));
    for path in names.iter().map(String::as_str).chain(["postmaster"]) {
        let Ok(expansion) = Expansion::of(config, &table, "s@x.test", path) else { continue };
        let mut all: Vec<String> = expansion.recipients().map(|path| path.as_str().to_owned()).collect();
        assert!((1..=ALIAS_TARGETS).contains(&all.len()));
        let _ = expansion.judge();
        all.sort();
        assert!(all.windows(2).all(|two| two[0] != two[1]), "{all:?}");
    }
});
