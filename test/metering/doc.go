// Package metering holds capture and metering against programs of others:
// tshark's and softflowd's view of the same packets, the kernel's interface
// counters of live ones, and softflowd's processor time.
//
// A tool that is missing skips its test; with IPFIXSUITE_REQUIRE_TOOLS=1 it
// fails it.
package metering
