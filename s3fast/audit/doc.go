// Package audit records what was asked of the cluster and by whom, and delivers
// the records to a webhook: at least once, in order, from a bounded spool on disk.
// It is a leaf.
package audit
