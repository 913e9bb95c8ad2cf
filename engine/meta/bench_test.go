package meta

import (
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
)

// nullTx holds the records given and drops what is written.
type nullTx struct {
	records map[string][]byte
	bytes   int
}

func (t *nullTx) Get(key []byte) ([]byte, bool, error) {
	v, ok := t.records[string(key)]
	return v, ok, nil
}
func (t *nullTx) Iter(lo, hi []byte) Iterator { panic("no command of the benchmark scans") }
func (t *nullTx) Put(key, value []byte)       { t.bytes += len(key) + len(value) }
func (t *nullTx) PutParts(key, head, tail []byte) {
	t.bytes += len(key) + len(head) + len(tail)
}
func (t *nullTx) Delete(key []byte)              { t.bytes += len(key) }
func (t *nullTx) AddCounter(key []byte, _ int64) { t.bytes += len(key) }

// BenchmarkApplyPut is PutObject without a store: the cost of its records.
func BenchmarkApplyPut(b *testing.B) {
	for _, fragments := range []int{0, 1, 3, 6} {
		b.Run(fmt.Sprint(fragments), func(b *testing.B) {
			bucket := Bucket{ID: 1, Slot: 1}
			tx := &nullTx{records: map[string][]byte{string(existsKey(&bucket)): {1}}}
			o := sampleObject()
			o.Key = "some/directory/and/a/name.jpg"
			o.Tags, o.Metadata = nil, nil
			o.Blob = layout.Blob{ID: layout.BlobID{1}, Size: 70000, Kind: layout.KindSingle}
			if fragments > 1 {
				o.Blob.Kind, o.Blob.Data, o.Blob.Parity, o.Blob.Unit = layout.KindStriped, uint8(fragments-fragments/3), uint8(fragments/3), 64<<10
			}
			for i := range fragments {
				f := layout.Fragment{Drive: layout.DriveID{byte(i)}}
				if o.Blob.Kind == layout.KindSingle || o.Blob.Geometry().FragmentSize(i) > 0 {
					f.Extents = []layout.Extent{{Off: int64(i+1) << 30, Len: 69632}}
				}
				o.Blob.Fragments = append(o.Blob.Fragments, f)
			}
			c := &PutObject{Bucket: bucket, Object: o, Due: 7}
			if fragments == 0 {
				c.Object.Blob = layout.Blob{ID: layout.BlobID{1}, Size: 4096}
				c.Inline = make([]byte, 4096)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Apply(tx); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(tx.bytes)/float64(b.N), "record-B/op")
		})
	}
}
