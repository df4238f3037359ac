# shellcheck shell=bash
# Facts of boards, for the scripts beside this file. They stand at the root of the repository.

# boards_named [BOARD...]: those boards, or all; fails for one that is none.
boards_named() {
    local name
    [ $# -gt 0 ] || set -- boards/*/board.mk
    for name in "$@"; do
        name=${name#boards/}
        name=${name%/board.mk}
        if [ ! -e "boards/$name/board.mk" ]; then
            echo "there is no board $name; there are: $(boards_named | tr '\n' ' ')" >&2
            return 1
        fi
        echo "$name"
    done
}

# board_fact BOARD KEY: a value of its board.mk.
board_fact() {
    sed -n "s/^$2 = *//p" "boards/$1/board.mk"
}

# board_targets BOARD...: the Rust targets of these boards, each once.
board_targets() {
    local board
    for board in "$@"; do
        board_fact "$board" TARGET
    done | sort -u
}

# board_variable BOARD NAME: what cargo calls a setting of this board's target.
board_variable() {
    echo "CARGO_TARGET_$(board_fact "$1" TARGET | tr 'a-z-' 'A-Z_')_$2"
}

# board_flags BOARD [FLAG...]: sets how its programs are compiled, beside what the toolchain has set.
board_flags() {
    local board=$1 variable
    shift
    variable=$(board_variable "$board" RUSTFLAGS)
    export "$variable=${!variable:-} $(board_fact "$board" FLAGS) $*"
}

# board_folder BOARD: where what is built for it lies.
board_folder() {
    echo "$boards_out/$1"
}

# An outer setting for this machine's compiler is none for a board's.
unset RUSTFLAGS
boards_out=${CARGO_TARGET_DIR:-target}/boards
mkdir -p "$boards_out"
boards_out=$(cd "$boards_out" && pwd)
boards_version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
boards_jobs=${JOBS:-2}
