#!/usr/bin/env bash
# Makes mixed.pcap anew: programs talk to each other in two network
# namespaces, tcpdump listens between them. Needs root and the Debian packages
# iproute2 tcpdump curl openssl dnsmasq-base bind9-dnsutils iperf3 iputils-ping
# python3 ethtool. Usage: make-capture.sh [OUTPUT]
set -euo pipefail

out=$(realpath -m "${1:-$(dirname "$0")/mixed.pcap}")
client=ipfix-client-$$ server=ipfix-server-$$
dir=$(mktemp -d)
pids=()

stop() {
  for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
  wait 2>/dev/null || true
  ip netns del "$client" 2>/dev/null || true
  ip netns del "$server" 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT

on() { ip netns exec "$@"; }
# exec: the process to stop is the program, not a shell around it.
serve() { (cd "$dir/www" && exec ip netns exec "$server" "$@" >"$dir/log.${#pids[@]}" 2>&1) & pids+=($!); }
ask() { timeout 10 ip netns exec "$client" "$@" >/dev/null 2>&1 || true; } # some questions are meant to fail

ip netns add "$client"
ip netns add "$server"
ip link add eth0 netns "$client" address 02:00:5e:10:00:0a type veth peer name eth0 netns "$server" address 02:00:5e:10:00:01
for ns in "$client" "$server"; do
  on "$ns" ip link set lo up
  on "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0
  # Packets as they would be on a cable: no segmentation left to the card.
  on "$ns" ethtool -K eth0 tx off tso off gso off gro off >/dev/null
done
for ns in "$client" "$server"; do on "$ns" ip link set eth0 up; done
on "$client" ip addr add 192.0.2.10/24 dev eth0
on "$client" ip addr add 192.0.2.11/24 dev eth0
on "$client" ip -6 addr add 2001:db8::10/64 dev eth0
on "$client" ip addr add 198.51.100.10/24 dev eth0
on "$server" ip addr add 192.0.2.1/24 dev eth0
on "$server" ip -6 addr add 2001:db8::1/64 dev eth0
on "$server" ip addr add 198.51.100.1/24 dev eth0

# What is served.
mkdir "$dir/www"
for kib in 1 20 150; do
  head -c $((kib << 10)) /dev/zero | tr '\0' 'x' >"$dir/www/$kib"
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
  -subj /CN=www.example.com -keyout "$dir/key" -out "$dir/cert" 2>/dev/null
cat >"$dir/web.py" <<'PY'
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def version_string(self):
        return "example"
    def __init__(self, *a):
        super().__init__(*a, directory=sys.argv[1])
Server(("::", 80), Handler).serve_forever()
PY
serve python3 "$dir/web.py" "$dir/www"
for v in 4 6; do serve openssl s_server -quiet -accept 443 -$v -cert "$dir/cert" -key "$dir/key" -WWW; done
serve dnsmasq --keep-in-foreground --no-resolv --no-hosts --no-daemon --conf-file=/dev/null --user=root --pid-file= \
  --host-record=www.example.com,192.0.2.1,2001:db8::1 --host-record=second.example.com,198.51.100.1 \
  --txt-record=example.com,"v=spf1 -all" --mx-host=example.com,www.example.com,10 --local=/example.com/ --local=/example.net/
serve iperf3 --server
sleep 2

(exec ip netns exec "$client" tcpdump -i eth0 -s 128 -B 16384 -Z root --time-stamp-precision=nano -U -w "$dir/pcap" 2>"$dir/tcpdump") &
pids+=($!)
sleep 1

curl=(curl -sS -A example -o /dev/null --max-time 5)
dig=(dig +tries=1 +time=2)
for i in 1 2 3; do
  for name in www second mail; do
    for typ in A AAAA; do
      ask "${dig[@]}" @192.0.2.1 "$name.example.com" $typ
      ask "${dig[@]}" @2001:db8::1 "$name.example.com" $typ
    done
  done
  ask "${dig[@]}" @192.0.2.1 example.com MX
  ask "${dig[@]}" @192.0.2.1 example.com TXT +tcp
  ask "${dig[@]}" @2001:db8::1 "host$i.example.net" A
  ask "${dig[@]}" @198.51.100.1 second.example.com A
  for host in 192.0.2.1 '[2001:db8::1]' 198.51.100.1; do
    for kib in 1 20 150; do ask "${curl[@]}" "http://$host/$kib"; done
    ask "${curl[@]}" "http://$host/missing"
    ask "${curl[@]}" -k "https://$host/20"
  done
  ask "${curl[@]}" --interface 192.0.2.11 "http://192.0.2.1/1" "http://192.0.2.1/20" # one connection, two requests
  ask "${curl[@]}" -k --interface 192.0.2.11 "https://192.0.2.1/150"
done
ask ping -c 5 -i 0.2 192.0.2.1
ask ping -c 5 -i 0.2 2001:db8::1
ask ping -c 3 -i 0.2 198.51.100.1
ask ping -c 3 -i 0.2 -s 3000 192.0.2.1      # fragments
ask ping -c 3 -i 0.2 -s 3000 2001:db8::1
ask ping -c 2 -i 0.2 -b -t 1 192.0.2.99      # nobody there: ARP only
ask "${curl[@]}" http://192.0.2.1:81/        # refused: RST
ask "${dig[@]}" -p 5353 @192.0.2.1 example.com # ICMP port unreachable
ask "${dig[@]}" -p 5353 @2001:db8::1 example.com
ask iperf3 -c 192.0.2.1 -n 600K
ask iperf3 -c 2001:db8::1 -n 400K -R
ask iperf3 -c 192.0.2.1 -u -b 4M -n 300K -l 1200
ask iperf3 -c 192.0.2.1 -u -b 4M -n 60K -l 4000 # fragments
ask iperf3 -c 2001:db8::1 -u -b 4M -n 100K -l 1200
ask iperf3 -c 198.51.100.1 -n 200K -P 3
sleep 1
kill "${pids[-1]}"
wait "${pids[-1]}" || true
cat "$dir/tcpdump"
chmod 644 "$dir/pcap"
mv "$dir/pcap" "$out"
