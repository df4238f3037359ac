# shellcheck shell=sh disable=SC2154
# Debian's packages without root and without installing: sourced by scripts that set `debian` to a
# folder for the package lists. Functions fail where there is no apt.

# debian_apt ARGUMENT...: apt-get with its lists in $debian, from the sources of this system.
debian_apt() {
    mkdir -p "$debian/lists/partial" "$debian/cache/archives/partial"
    apt-get -q -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
        -o Dir::State::Lists="$debian/lists" -o Dir::Cache="$debian/cache" "$@"
}

# debian_cache ARGUMENT...: the same for apt-cache.
debian_cache() {
    apt-cache -o Dir::State::Lists="$debian/lists" -o Dir::Cache="$debian/cache" "$@"
}

# debian_lists: brings the package lists, once.
debian_lists() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        echo "no apt and dpkg here" >&2
        return 1
    fi
    [ ! -e "$debian/fresh" ] || return 0
    echo "reading Debian's package lists into $debian" >&2
    debian_apt update >&2 || return 1
    touch "$debian/fresh"
}

# debian_closure PATTERN PACKAGE: what PACKAGE needs, itself left out, of the names that match.
debian_closure() {
    debian_cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$2" | grep -E "$1" | sort -u
}

# debian_missing PATTERN PACKAGE: of the same, what this system lacks.
debian_missing() {
    debian_closure "$1" "$2" | while read -r debian_name; do
        debian_state=$(dpkg-query -W -f '${db:Status-Status}' "$debian_name" 2>/dev/null || :)
        [ "$debian_state" = installed ] || echo "$debian_name"
    done
}

# debian_unpack PACKAGE FOLDER [TAR ARGUMENT...]: the files of a package, or those that tar picks.
debian_unpack() {
    debian_package=$1
    debian_folder=$2
    shift 2
    debian_new=$(mktemp -d "$debian/new.XXXXXX") || return 1
    mkdir -p "$debian_folder"
    (cd "$debian_new" && debian_apt download "$debian_package" >/dev/null 2>&1) &&
        dpkg --fsys-tarfile "$debian_new"/*.deb | tar -x -C "$debian_folder" "$@"
    debian_result=$?
    rm -rf "$debian_new"
    return $debian_result
}
