// Package dccp holds the tests of our DCCP against the Linux kernel's, inside
// a User-Mode Linux (package test/uml), with tshark as judge of the packets.
package dccp
