# Everything a person types here. `make help` lists it. Nothing is installed into the system but by
# `make install`; what is downloaded goes below target/ or into the user's cache folder.

CARGO ?= cargo
JOBS ?= 2
PREFIX ?= /usr/local
DESTDIR ?=
# The program to be installed; empty: the one built here.
PROGRAM ?=
# Boards by name; empty: all, or for test-boards all of tier 1.
BOARD ?=
BOARDS ?=
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

.DEFAULT_GOAL := help
.PHONY: help run build test unit check demo core peers bench bench-short bench-tls power-loss soak fuzz fuzz-short install clean rust

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

run: rust ## builds and starts the relay with no configuration: 127.0.0.1:2525, mail in ./pillarbox-mail
	$(CARGO) run -j$(JOBS) --release --bin pillarbox -- serve

build: rust ## the program, optimised
	$(CARGO) build -j$(JOBS) --release

test: rust peers ## every test, with the real peers it needs
	$(CARGO) test -j$(JOBS)

unit: rust ## the quick tests only
	$(CARGO) test -j$(JOBS) --lib

check: rust ## formatting, lints, documentation and the rules of the house
	$(CARGO) fmt --check
	$(CARGO) clippy -j$(JOBS) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc -j$(JOBS) --no-deps --document-private-items
	$(CARGO) test -j$(JOBS) --test tidy

demo: rust ## the main job in one go: two relays, a mail with an attachment, log, queue, delivered file
	$(CARGO) build -j$(JOBS)
	tests/demo.sh

core: rust ## the protocol core for a board without an operating system (thumbv7em-none-eabihf)
	boards/core

peers: rust ## brings the real mail programs that the tests talk to, below target/peers
	tests/support/peers.sh

bench: build peers ## side by side with Postfix, flushes and memory (root, some minutes)
	bench/run

bench-short: build peers ## the same with few messages: shows that it works, not how fast it is
	bench/run --short

bench-tls: build ## handshakes a second, and the memory of TLS sessions (openssl, some minutes)
	bench/tls

power-loss: rust ## cuts the power at every disk call, the long way (some minutes)
	PILLARBOX_FULL=1 $(CARGO) test -j$(JOBS) --release --test power_loss

soak: rust ## kills the relay every second while 1,000 messages go through, with each way to commit (a minute)
	PILLARBOX_FULL=1 $(CARGO) test -j$(JOBS) --test soak -- --nocapture

fuzz: rust ## every fuzz target for a minute (g++; no nightly compiler is needed)
	fuzz/run --seconds 60

fuzz-short: rust ## every fuzz target, 20,000 inputs: what CI does
	fuzz/run --runs 20000

.PHONY: board boards size resident test-boards deb ipk tarball test-packages
board: rust ## BOARD=raspberry-pi: the program for a board, below target/boards (boards/README.md)
	boards/build $(or $(BOARD),$(error BOARD is missing: make board BOARD=raspberry-pi, or another folder of boards))

boards: rust ## the program for every board
	boards/build $(BOARDS)

size: boards ## octets for each board beside its budget; BOARDS="server raspberry-pi" for these only
	boards/size $(BOARDS)

resident: board peers ## BOARD=...: what the relay takes of memory there, with 32 sessions
	boards/resident $(BOARD)

test-boards: rust peers ## the tests with programs of boards, under emulation; BOARDS=... for these only
	boards/test $(BOARDS)

deb: board ## BOARD=...: a Debian package
	boards/package deb $(BOARD)

ipk: board ## BOARD=openwrt-mt7621: an OpenWrt package
	boards/package ipk $(BOARD)

tarball: board ## BOARD=...: program, configuration and service file
	boards/package tarball $(BOARD)

test-packages: rust ## installs and runs packages: server's deb in a Debian root, OpenWrt's under its shell
	$(MAKE) --no-print-directory deb tarball BOARD=server
	$(MAKE) --no-print-directory ipk BOARD=openwrt-mt7621
	tests/support/peers.sh busybox debian
	tests/packages.sh

install: $(if $(PROGRAM),,build) ## the program, its names sendmail, mailq, newaliases, and the pages of man, below DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(or $(PROGRAM),$(CARGO_TARGET_DIR)/release/pillarbox) $(DESTDIR)$(PREFIX)/sbin/pillarbox
	ln -sf pillarbox $(DESTDIR)$(PREFIX)/sbin/sendmail
	ln -sf ../sbin/pillarbox $(DESTDIR)$(PREFIX)/bin/mailq
	ln -sf ../sbin/pillarbox $(DESTDIR)$(PREFIX)/bin/newaliases
	install -d $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 src/manual/pillarbox.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 src/manual/pillarbox.8 $(DESTDIR)$(PREFIX)/share/man/man8/

clean: ## removes what was built and brought
	$(CARGO) clean

# Stops early, and says what to do, where cargo is missing or older than Cargo.toml's rust-version.
rust:
	@needed=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	found=$$($(CARGO) --version 2>/dev/null | awk '{ print $$2 }'); \
	oldest=$$(printf '%s\n%s\n' "$$needed" "$$found" | sort -V | head -n 1); \
	if [ -z "$$found" ] || [ "$$oldest" != "$$needed" ]; then \
		echo "pillarbox needs Rust $$needed or newer; found: $${found:-none}." >&2; \
		echo "Get it from https://rustup.rs, or, if rustup is there: rustup update stable" >&2; \
		exit 1; \
	fi
