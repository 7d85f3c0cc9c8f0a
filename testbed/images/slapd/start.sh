#!/bin/sh
set -e
mkdir -p /run/directory
slapadd -f /config/slapd.conf -l /config/people.ldif
exec slapd -d 0 -f /config/slapd.conf -h "ldap://:389 ldaps://:636"
