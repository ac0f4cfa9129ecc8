#!/bin/sh
# Remove from the packages in /opt/candor their tests and sources in C, and what the list UNUSED names below site-packages:
#
#   PATTERN                these files or folders
#   PATTERN but NAME...    these, except the ones of those names
#   strip PATTERN          of these libraries, what only a debugger reads
set -eu
unused=$(realpath "$1")
cd /opt/candor/lib/python3*/site-packages
find . -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
find . -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.[ch]' \
  -o -name '*.cpp' -o -name '*.hpp' \) -delete

there() { [ -e "$1" ] || { echo "prune.sh: $unused names $1, and nothing is there" >&2; exit 1; }; }

grep -v '^#' "$unused" | while read -r first second kept; do
  package=$first
  [ "$first" = strip ] && package=$second
  [ -d "${package%%/*}" ] || continue # another lock may go without it
  case $first in
    strip) for path in $second; do there "$path"; strip --strip-unneeded "$path"; done ;;
    *) for path in $first; do
         there "$path"
         case " $kept " in *" $(basename "$path") "*) ;; *) rm -rf "$path" ;; esac
       done ;;
  esac
done
