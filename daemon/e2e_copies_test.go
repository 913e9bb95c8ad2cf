package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// TestMetadataOutlivesBuckets: the metadata has a copy more than drives may fail for the
// bucket with the highest parity, also after a restart, and as many as by default where
// nothing has redundancy.
func TestMetadataOutlivesBuckets(t *testing.T) {
	t.Parallel()
	n := newDrives(t, 5).serve()
	zero := "0"
	if _, err := n.admin.UpdateCluster(t.Context(), api.UpdateCluster{Parity: &zero}); err != nil {
		t.Fatal(err)
	}
	n.wanted(3)
	if _, err := n.admin.SetBucketParity(t.Context(), nodeBucket, "3"); err != nil {
		t.Fatal(err)
	}
	n.wanted(4)
	n.copies(4)
	stored := map[string]int{}
	n.keep(stored, "three")
	n.restart()
	n.wanted(4)
	n.copies(4)
	n.verify(stored)
	if _, err := n.admin.SetBucketParity(t.Context(), nodeBucket, "default"); err != nil {
		t.Fatal(err)
	}
	n.restart()
	n.wanted(3)
	n.verify(stored)
	n.stop()
}

// wanted waits until so many copies of the metadata are wanted.
func (n *node) wanted(want int) {
	n.t.Helper()
	await(n.t, 30*time.Second, func() error {
		st, err := n.admin.Status(n.t.Context())
		if err == nil && st.MetaWanted != want {
			err = fmt.Errorf("%d copies are wanted, not %d", st.MetaWanted, want)
		}
		return err
	})
}
