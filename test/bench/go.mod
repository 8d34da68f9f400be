module ipfixsuite/test/bench

go 1.26.0

require (
	github.com/calmh/ipfix v1.1.0
	github.com/netsampler/goflow2/v2 v2.2.6
	golang.org/x/sys v0.49.0
	ipfixsuite v0.0.0
)

require (
	github.com/pion/dtls/v3 v3.1.15 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/transport/v5 v5.0.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
	gopkg.in/gcfg.v1 v1.2.3 // indirect
	gopkg.in/warnings.v0 v0.1.2 // indirect
)

replace ipfixsuite => ../..
