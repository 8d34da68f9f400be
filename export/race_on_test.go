//go:build race

package export

// raced: the race detector allocates for what it observes.
const raced = true
