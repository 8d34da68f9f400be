// Package rotation proves with real processes that sessions are replaced, and
// collectors lost, without losing a record. Records are numbered; what the
// collector wrote is counted, not what anybody says.
package rotation
