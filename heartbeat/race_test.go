//go:build race

package heartbeat

// raced: simulated hours are shortened where the race detector slows them.
const raced = true
