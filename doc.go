// Package ipfixsuite holds the test of the import directions; the suite
// itself is in the folders beside it. ARCHITECTURE.md is the way in.
package ipfixsuite
