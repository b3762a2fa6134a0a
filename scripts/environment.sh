# Sourced by scripts/demo and scripts/test. `make_environment EXTRA` leaves simgen installed in the virtual environment $VENV
# (default: .venv of this checkout) and $python naming its interpreter. EXTRA is empty or an extra of pyproject.toml.
#
#   PYTHON=...  the interpreter to make it with; default: the newest of Python 3.13, 3.12 and 3.11 that is found
#   VENV=...    the folder of the environment
#
# A stamp file records the installation, so that a second run installs nothing.

versions=(3.13 3.12 3.11) # those of pyproject.toml, newest first

fail() {
    echo "scripts/$(basename "$0"): $*" >&2
    exit 1
}

# The version of the interpreter $1, such as 3.12; empty if it does not run (a pyenv shim of an inactive version).
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# Prints the interpreters that may be of version $1, one a line: those on PATH, and pyenv's, active or not.
interpreters() {
    type -aP "python$1" python3 python || true
    local found
    for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3; do
        [ -x "$found" ] && echo "$found"
    done
    return 0
}

# Sets `base` to an interpreter that can make an environment; ends the script if there is none.
find_python() {
    local version found lacking=""
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON")
        [ -n "$version" ] || fail "PYTHON=$PYTHON does not run; give the path of a Python 3.11, 3.12 or 3.13"
        [[ " ${versions[*]} " == *" $version "* ]] || fail "PYTHON=$PYTHON is Python $version; expected 3.11, 3.12 or 3.13"
        can_make_environments "$PYTHON" || fail "$(no_venv "$version")"
        base=$PYTHON
        return
    fi
    for version in "${versions[@]}"; do
        while read -r found; do
            [ "$(version_of "$found")" = "$version" ] || continue
            if can_make_environments "$found"; then
                base=$found
                return
            fi
            lacking=${lacking:-$version}
        done < <(interpreters "$version")
    done
    [ -z "$lacking" ] || fail "$(no_venv "$lacking")"
    fail "no Python 3.11, 3.12 or 3.13 found; install one (Debian, Ubuntu: apt install python3 python3-venv) or set PYTHON=/path/to/python3"
}

can_make_environments() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

no_venv() {
    echo "Python $1 cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python$1-venv)"
}

make_environment() {
    local extra=$1 stamp present
    VENV=${VENV:-.venv}
    python=$VENV/bin/python
    if [ -x "$python" ]; then
        present=$(version_of "$python")
        [[ " ${versions[*]} " == *" $present "* ]] ||
            fail "$VENV holds Python '$present'; expected 3.11, 3.12 or 3.13: remove it, or set VENV=another folder"
        if [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$present" ]; then
            fail "$VENV holds Python $present, but PYTHON=$PYTHON is '$(version_of "$PYTHON")': remove it, or set VENV=another folder"
        fi
    else
        [ ! -e "$VENV" ] || fail "$VENV exists and is no virtual environment: remove it, or set VENV=another folder"
        find_python
        echo "+ $base -m venv $VENV    # Python $(version_of "$base")"
        "$base" -m venv "$VENV"
    fi
    stamp="$VENV/.simgen-installed${extra:+-$extra}"
    # The fingerprint includes the checkout's path, because the environment holds a link to it.
    [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint)" ] || return 0
    echo "+ $python -m pip install -e '.${extra:+[$extra]}'    # about 5 GB the first time"
    "$python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}" ||
        fail "the installation failed; see the lines above; the same command resumes it"
    fingerprint >"$stamp"
}

fingerprint() {
    "$python" -c 'import hashlib, pathlib; print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest(), pathlib.Path.cwd())'
}
