//! The configuration: any text is read or refused, and what was read prints as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::config::Config;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = Config::parse(text, "host.test") else { return };
    let printed = config.to_string();
    let commands = ["password_command", "token_command"];
    if !commands.iter().any(|key| text.contains(key)) {
        let again = Config::parse(&printed, "host.test").expect("what is printed can be read");
        assert_eq!(again.to_string(), printed);
    }
});
