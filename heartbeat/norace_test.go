//go:build !race

package heartbeat

// raced: see race_test.go.
const raced = false
