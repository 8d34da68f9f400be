// Package netem runs both programs on the two ends of a link that Linux makes
// bad (tc-netem): two network namespaces, in a kernel of their own where the
// machine's has no netem (test/uml).
package netem
