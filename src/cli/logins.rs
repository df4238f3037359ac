//! What `check` says of logins: files with secrets that are wrong or open to all, and logins that would
//! never come about.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::{Auth, Config, Smarthost, TlsStrictness, Via};
use crate::relay::secret::SECRET_FILE_OCTETS;
use crate::relay::users::{self, Users};

/// What is wrong in files with secrets, and with those who can read them.
pub fn mistakes(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(file) = config.access.users_file.as_deref().filter(|file| file.exists())
        && let Err(refused) = Users::read(file)
    {
        found.extend(refused.mistakes().iter().map(|mistake| match mistake.line {
            0 => format!("access.users_file: {} {}", file.display(), mistake.text),
            line => format!("{}:{line}:{}: {}", file.display(), mistake.column, mistake.text),
        }));
    }
    for (_, host) in smarthosts(config) {
        if let Some(file) = host.password_file.as_deref().filter(|file| file.exists())
            && let Err(why) = users::read_secret_file(file, SECRET_FILE_OCTETS)
        {
            found.push(format!("route.password_file: {} {why}", file.display()));
        }
    }
    found
}

/// Logins that work nowhere, or where everybody listens.
pub fn warnings(config: &Config) -> Vec<String> {
    let access = &config.access;
    let mut found = Vec::new();
    let mut warn = |text: String| found.push(text);
    if let Some(file) = &access.users_file {
        let in_clear = !access.plaintext_auth_from.is_empty() || config.client.iter().any(|c| c.appliance);
        if config.tls.certificate_file.is_none() && !in_clear {
            warn("access.users_file: nobody can log in without TLS: write [tls] with a certificate, or plaintext_auth_from".to_owned());
        }
        if access.cram_md5
            && let Ok((users, _)) = Users::read(file)
        {
            if !users.has_clear() {
                warn("access.cram_md5: no user is stored in clear (pillarbox password --clear), so CRAM-MD5 is not offered".to_owned());
            } else if users.has_hashed() {
                warn("access.cram_md5: programs that try CRAM-MD5 first (curl, Python) fail for the users that are not stored in clear".to_owned());
            }
        }
    } else if access.cram_md5 || !access.plaintext_auth_from.is_empty() {
        warn("access: without users_file nobody can log in".to_owned());
    }
    if access.plaintext_auth_from.iter().any(|network| network.is_everyone()) {
        warn("access.plaintext_auth_from holds everyone: passwords cross the Internet in clear".to_owned());
    }
    for (number, host) in smarthosts(config) {
        for program in [&host.password_command, &host.token_command].into_iter().filter_map(|c| c.first()) {
            if let Some(why) = cannot_run(Path::new(program)) {
                warn(format!("route {number}: nobody can log in, {program} can't be run: {why}"));
            }
        }
        let covered = host.tls == TlsStrictness::Verify || host.certificate_sha256.is_some();
        if host.username.is_some() && !covered && !host.plaintext_auth {
            let ways = match host.auth {
                Auth::CramMd5 | Auth::ScramSha256 => continue,
                Auth::Auto if host.token_command.is_empty() => "only CRAM-MD5 and SCRAM-SHA-256 can be used",
                _ => "nothing can be sent",
            };
            warn(format!(
                "route {number}: without tls = \"verify\", a pinned certificate or plaintext_auth = true {ways}"
            ));
        }
    }
    found
}

/// Why a program that was named by its path can't be run; others are looked for when they are needed.
fn cannot_run(program: &Path) -> Option<String> {
    if !program.is_absolute() {
        return None;
    }
    match program.metadata() {
        Err(e) => Some(e.to_string()),
        Ok(it) if it.is_file() && it.permissions().mode() & 0o111 != 0 => None,
        Ok(_) => Some("it is no program".to_owned()),
    }
}

/// The smarthosts, with the number of their route from 1.
fn smarthosts(config: &Config) -> impl Iterator<Item = (usize, &Smarthost)> {
    config.route.iter().enumerate().filter_map(|(at, route)| match &route.via {
        Via::Smarthost(host) => Some((at + 1, host)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> String {
        warnings(&Config::parse(text, "host.test").unwrap()).join("\n")
    }

    #[test]
    fn logins_that_never_come_about_are_told() {
        assert_eq!(warned(""), "");
        assert!(warned("[access]\nusers_file = \"/u\"\n").contains("nobody can log in without TLS"));
        let clear = "[access]\nusers_file = \"/u\"\nplaintext_auth_from = [\"192.168.1.0/24\"]\n";
        assert_eq!(warned(clear), "");
        assert!(warned("[access]\ncram_md5 = true\n").contains("without users_file"));
        assert!(warned(&clear.replace("192.168.1.0/24", "::/0")).contains("in clear"));
    }

    #[test]
    fn users_that_cram_md5_shuts_out_are_told() {
        use std::os::unix::fs::PermissionsExt;
        let file = std::env::temp_dir().join(format!("pillarbox-cram-{}", std::process::id()));
        let hashed = "new:SCRAM-SHA-256$10000$rCeqKoYiVRiprr5qZeujhg==$v+88TNCz6mQ7dwzSRVDzO4IQZB92RbMB5oiPoub9MY8=$btUh+bbVtwdzAWG6Av02km4nUan3dQIYN7VG4hGL7Rc=\n";
        let clear = "old:{CLEAR}c2VjcmV0\n";
        for (users, warning) in [
            (hashed.to_owned(), "CRAM-MD5 is not offered"),
            (format!("{hashed}{clear}"), "try CRAM-MD5 first"),
            (clear.to_owned(), ""),
        ] {
            std::fs::write(&file, users).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            let access = format!(
                "[access]\nusers_file = {file:?}\ncram_md5 = true\nplaintext_auth_from = [\"::1\"]\n"
            );
            let said = warned(&access);
            assert!(said.contains(warning) && said.is_empty() == warning.is_empty(), "{said}");
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_next_hop_that_gets_no_secret_is_told() {
        let route = |lines: &str| {
            format!(
                "[[route]]\nvia = \"smarthost\"\nhosts = [\"h:25\"]\nusername = \"me\"\npassword_command = [\"p\"]\n{lines}\n"
            )
        };
        assert!(warned(&route("tls = \"none\"")).contains("route 1: without tls = \"verify\""));
        assert!(warned(&route("tls = \"none\"\nauth = \"plain\"")).contains("nothing can be sent"));
        for fine in ["tls = \"none\"\nauth = \"cram-md5\"", "tls = \"none\"\nplaintext_auth = true"] {
            assert_eq!(warned(&route(fine)), "");
            for (program, words) in
                [("/bin/sh", ""), ("/nonexistent/p", "No such file"), ("/etc", "no program")]
            {
                let told = warned(&route(fine).replace("\"p\"", &format!("{program:?}")));
                assert!(told.contains(words) && told.is_empty() == words.is_empty(), "{told}");
            }
        }
    }
}
