// Package uml runs tests and programs inside a Linux kernel that is a process:
// Debian's user-mode-linux, 6.1, which has what the machine's own kernel may
// lack: DCCP, SCTP, netem, veth, tun. The guest sees the machine's files
// read-only and the calling test's folder and Job.Writable as they are; it is
// root there, and its network is its own.
//
// A boot costs some two seconds, a system call some 80 times what it does
// outside, and the race detector does not work inside. So few boots with many
// cases each, small numbers of packets, and nothing that depends on speed.
//
// README.md tells of the script underneath, uml-run, which serves without Go.
package uml
