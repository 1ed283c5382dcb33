#!/usr/bin/env bash
# Usage: fetch_jars.sh DIR [kafka] [neo4j]      (default: both)
# Copies the jars of each server and its runtime dependencies to DIR/<name>-<version>/ and skips
# what is already complete. Versions come from pom.xml beside this script. Needs mvn and a JDK (17+).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pom=$here/pom.xml
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

[ $# -ge 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"; dir=$(cd "$1" && pwd); shift
[ $# -gt 0 ] || set -- kafka neo4j
command -v mvn >/dev/null || { echo "fetch_jars: no mvn on PATH (apt-get install maven)" >&2; exit 1; }

for name in "$@"; do
    version=$(sed -n "s|.*<$name\.version>\(.*\)</$name\.version>.*|\1|p" "$pom")
    [ -n "$version" ] || { echo "fetch_jars: no <$name.version> in pom.xml" >&2; exit 2; }
    target=$dir/$name-$version
    if [ -e "$target/.complete" ]; then
        echo "$name $version: already there"
        continue
    fi
    begin=$(date +%s)
    log=$dir/$name.log
    rm -rf "$target"
    # includeScope=runtime: most of the broker is a "runtime" dependency of its own artifact.
    if ! mvn -B -ntp -f "$pom" "-P$name" "$plugin:copy-dependencies" \
            -DincludeScope=runtime "-DoutputDirectory=$target" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "fetch_jars: $name $version failed, full output in $log" >&2
        exit 1
    fi
    # A different directory order or time stamp makes a CDS archive useless, so old archives go.
    rm -f "$log" "$dir/$name"*.jsa
    touch "$target/.complete"
    echo "$name $version: $(find "$target" -name '*.jar' | wc -l) jars, $(du -sm "$target" | cut -f1) MB, $(($(date +%s) - begin)) s"
done
