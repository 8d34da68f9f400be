module ipfixsuite/test/bench

go 1.26.0

require (
	github.com/calmh/ipfix v1.1.0
	github.com/netsampler/goflow2/v2 v2.2.6
	ipfixsuite v0.0.0
)

require (
	google.golang.org/protobuf v1.36.11 // indirect
	gopkg.in/gcfg.v1 v1.2.3 // indirect
	gopkg.in/warnings.v0 v0.1.2 // indirect
)

replace ipfixsuite => ../..
