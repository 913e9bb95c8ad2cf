package meta

import "github.com/sluicehq/sluice/engine/layout"

// found is an entry of the delete queue that a Purge found.
type found struct {
	g      Garbage
	rec    garbageRecord
	repair bool // the blob is on the repair queue, too
}

// kinds returns what an entry as DueGarbage returned it may stand for.
func (g *Garbage) kinds() []byte {
	if g.Blob.Kind == layout.KindInline {
		return []byte{garbageInline, garbageCompletion, garbageChunks}
	}
	return []byte{garbageBlob}
}

// Apply implements Command.
func (c *Purge) Apply(tx Tx) error {
	c.Done = nil
	var list []found
	seen := make(map[string]bool, len(c.Entries))
	for _, g := range c.Entries {
		done := false
		for _, what := range g.kinds() {
			key := garbageKey(g.Slot, g.Due, g.Blob.ID, what)
			v, ok, err := tx.Get(key)
			if err != nil {
				return err
			}
			if !ok || seen[string(key)] {
				continue
			}
			seen[string(key)], done = true, true
			rec, err := decodeGarbage(v)
			if err != nil {
				return err
			}
			rec.What = what
			if what == garbageBlob {
				// It may have moved since the queue was read.
				if _, err := locate(tx, &g); err != nil {
					return err
				}
			}
			f := found{g: g, rec: rec}
			if what == garbageBlob {
				if _, f.repair, err = tx.Get(idKey(g.Slot, typeRepair, g.Blob.ID)); err != nil {
					return err
				}
			}
			list = append(list, f)
		}
		if done {
			c.Done = append(c.Done, g)
		}
	}
	for i := range list {
		list[i].purge(tx)
	}
	return nil
}

// purge removes an entry and what it stands for.
func (f *found) purge(tx Tx) {
	g := &f.g
	tx.Delete(garbageKey(g.Slot, g.Due, g.Blob.ID, f.rec.What))
	switch f.rec.What {
	case garbageInline:
		tx.Delete(idKey(g.Slot, typeInline, g.Blob.ID))
	case garbageBlob:
		tx.Delete(idKey(g.Slot, typeBackRef, g.Blob.ID))
		if f.repair {
			tx.Delete(idKey(g.Slot, typeRepair, g.Blob.ID))
		}
	case garbageCompletion:
		tx.Delete(idKey(g.Slot, typeCompletion, g.Blob.ID))
	case garbageChunks:
		for n := range f.rec.Chunks {
			tx.Delete(chunkKey(g.Slot, Version(g.Blob.ID), uint32(n)))
		}
		if f.rec.Chunks > 1 {
			tx.Delete(chunkKey(g.Slot, Version(g.Blob.ID), chunkIndex))
		}
	}
}
