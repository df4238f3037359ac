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
usage: pillarbox check [-c FILE] [--print] [--connect]

Reads the configuration and names every mistake as FILE:LINE:COLUMN; ends with 78 if there is one.
Warns of what will surprise.

  --print              show the configuration that holds, defaults included, secrets hidden
  --connect            resolve, connect, do TLS and AUTH with every smarthost, a line a step with its time;
                       sends nothing; ends with 69 if one can't be used";

/// `pillarbox queue --help`
pub const QUEUE: &str = "\
usage: pillarbox queue [-c FILE] [list [--json] | show ID | retry|hold|release|remove ID…|--all]

Asks the running relay; when none runs, looks into the spool itself.

  list                 a line a message: id, size, age, sender, state, next try; then its recipients
  show ID              envelope, tries so far with the last reply, and content
  retry ID…            try now
  hold ID…             put aside until released
  release ID…          let go on
  remove ID…           forget; nobody is told

  --all                all messages instead of some
  --json               one JSON object a line";

/// `pillarbox status --help`
pub const STATUS: &str = "\
usage: pillarbox status [-c FILE] [--json]

What the running relay is doing: slots, memory, spool, counters, destinations, last errors.

  --json               one JSON object";

/// `pillarbox send-test --help`
pub const SEND_TEST: &str = "\
usage: pillarbox send-test [-c FILE] ADDRESS

Submits one test message to the running relay, follows it, and prints what became of it: host, TLS and
reply of every attempt. Ends with 0 if it was delivered, 75 if it waits in the queue, 69 if it was
refused or no relay runs. Nobody else is told: the message asks for no notices.";

/// `pillarbox sendmail --help`
pub const SENDMAIL: &str = "\
usage: pillarbox sendmail [-c FILE] [-t] [-i] [-f SENDER] [-F NAME] [RECIPIENT…]

Reads one message from standard input and submits it to the relay.

  -t                   recipients are in To:, Cc: and Bcc: too
  -i, -oi              a line with a single dot does not end the message
  -f, -r SENDER        the sender, instead of the user at this host; <> for none
  -F NAME              the full name for a From: that is missing
  -N never|success,failure,delay   when to be notified (RFC 3461)
  -R full|hdrs         how much of the message a notification has
  -V ID                an envelope id that notifications carry
  -B 7BIT|8BITMIME     what the content is
  -bs                  speak SMTP on standard input and output
  -bp                  list the queue
  -q                   try the whole queue now

Bcc: is removed, with -t and without. Other options of sendmail are taken and have no meaning here.";

/// `pillarbox password --help`
pub const PASSWORD: &str = "\
usage: pillarbox password [--clear] NAME

Asks for a password, twice, or takes the first line of standard input, and prints the line for the
users file (access.users_file). From it the password can't be had back.

  --clear              store the password as it is, which CRAM-MD5 needs and others are better off without

A line can end in the senders that the user may use: :me@example.net,*@home.arpa";
