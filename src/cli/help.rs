//! What `--help` says. The first line of each text is also what a usage error shows.

/// `pillarbox --version`
pub const VERSION: &str = concat!("pillarbox ", env!("CARGO_PKG_VERSION"));

/// `pillarbox --help`
pub const MAIN: &str = "\
usage: pillarbox [-c FILE] COMMAND [ARGUMENTS]

  serve                run the relay in the foreground
  check                read the configuration and name every mistake
  sendmail [ADDRESS…]  submit the message on standard input
  queue                list the queue; show, retry, hold, release, remove messages
  status               what the relay is doing
  password NAME        make a line for the users file
  send-test ADDRESS    send a test message and follow it

  -c FILE              the configuration, instead of /etc/pillarbox.toml
  -h, --help           this text, or with a command the command's
  -V, --version        the version

Called as sendmail, mailq or newaliases it behaves as that program.";

/// `pillarbox serve --help`
pub const SERVE: &str = "\
usage: pillarbox serve [-c FILE]

Runs the relay in the foreground. Without a configuration it listens on 127.0.0.1:2525, keeps its
spool in ./pillarbox-spool, delivers mail for this host to ./pillarbox-mail/NAME/ and refuses the rest.

  SIGTERM, SIGINT      end cleanly
  SIGHUP               read the configuration again
  SIGUSR1              try the whole queue now";

/// `pillarbox check --help`
pub const CHECK: &str = "\
usage: pillarbox check [-c FILE] [--print]

Reads the configuration and names every mistake as FILE:LINE:COLUMN; ends with 78 if there is one.
Warns of what will surprise.

  --print              show the configuration that holds, defaults included, secrets hidden";
