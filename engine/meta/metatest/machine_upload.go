package metatest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// upload picks an upload in progress, or skips the step.
func (m *machine) upload() (*bucketModel, *uploadModel) {
	b := m.bucket()
	if len(b.uploads) == 0 {
		m.t.Skip("no upload")
	}
	ids := sortedIDs(b.uploads)
	return b, b.uploads[ids[m.int("upload", 0, int64(len(ids)-1))]]
}

func (m *machine) createUpload() {
	b := m.bucket()
	u := meta.Upload{ID: m.id(), Key: m.key(), Initiated: m.int("initiated", 0, 9), Initiator: m.pick("initiator", "", "carol")}
	m.describe(&u.Object)
	u.Object.Key = u.Key
	m.expect(&meta.CreateUpload{Bucket: b.rec, Upload: u}, nil)
	u.Bucket = b.rec.ID
	b.uploads[u.ID] = &uploadModel{Upload: u, parts: map[int32]meta.Part{}}
}

func (m *machine) putPart() {
	b, u := m.upload()
	c := &meta.PutPart{Bucket: b.rec, Key: u.Key, UploadID: u.ID, Due: m.int("due", -3, 3)}
	c.Part = meta.Part{Number: int32(m.int("number", 1, 4)), ModTime: m.int("mtime", 0, 9), ETag: m.etag()}
	if m.int("last number", 0, 9) == 0 {
		c.Part.Number = 10000
	}
	c.Part.Blob, c.Inline = m.blob()
	c.Part.Size = c.Part.Blob.Size
	if m.int("checksum", 0, 1) == 0 {
		c.Part.Checksum = meta.Checksum{Algorithm: "SHA256", Value: []byte{9}}
	}
	m.expect(c, nil)
	if old, ok := u.parts[c.Part.Number]; ok {
		m.model.enqueue(b.rec.Slot, c.Due, meta.Version{}, old.Blob)
	}
	m.model.place(b, u.Key, c.Part.Blob, c.Inline, c.Part.ModTime)
	stored := c.Part
	stored.Blob = bare(stored.Blob)
	u.parts[c.Part.Number] = stored
	if !c.Part.Blob.ID.IsZero() && m.int("again", 0, 9) == 0 {
		m.expect(c, nil)
	}
	wrong := *c
	wrong.UploadID[0] ^= 0xFF
	m.expect(&wrong, meta.ErrNoUpload)
}

func (m *machine) abort() {
	b, u := m.upload()
	c := &meta.AbortUpload{Bucket: b.rec, Key: u.Key, UploadID: u.ID, Due: m.int("due", -3, 3)}
	m.expect(c, nil)
	for _, p := range u.parts {
		m.model.enqueue(b.rec.Slot, c.Due, meta.Version{}, p.Blob)
	}
	delete(b.uploads, u.ID)
	m.expect(c, meta.ErrNoUpload)
}

func seal(_ *meta.Upload, parts []meta.Part) (string, meta.Checksum, error) {
	return strings.Repeat("ab", 16) + "-" + string(rune('0'+len(parts)%10)), meta.Checksum{Algorithm: "SHA256", Type: "COMPOSITE", Value: []byte{byte(len(parts))}}, nil
}

// choose names some of the upload's parts, sometimes wrongly, and tells what
// the completion then has to end with.
func (m *machine) choose(u *uploadModel, c *meta.CompleteUpload) (chosen []meta.Part, want error) {
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		if m.int("use", 0, 4) == 0 {
			continue
		}
		p := u.parts[n]
		chosen = append(chosen, p)
		ref := meta.PartRef{Number: n, ETag: `"` + strings.ToUpper(p.ETag) + `"`}
		if len(p.Checksum.Value) > 0 {
			ref.Checksum.Value = p.Checksum.Value
		}
		c.Parts = append(c.Parts, ref)
	}
	if len(chosen) == 0 {
		return nil, meta.ErrInvalidPart
	}
	last := len(c.Parts) - 1
	switch m.int("mistake", 0, 12) {
	case 0:
		c.Parts[last].ETag = "wrong"
		return nil, meta.ErrInvalidPart
	case 1:
		c.Parts[last].Checksum = meta.Checksum{Algorithm: "SHA256", Value: []byte("wrong")}
		return nil, meta.ErrInvalidPart
	case 2:
		c.Parts = append(c.Parts, meta.PartRef{Number: 9000, ETag: "none"})
		if c.Parts[last].Number == 10000 {
			return nil, meta.ErrPartOrder
		}
		return nil, meta.ErrInvalidPart
	case 3:
		c.Parts = append(c.Parts, c.Parts[last])
		return nil, meta.ErrPartOrder
	case 4:
		c.MinPart = 1000
	}
	for _, p := range chosen[:last] {
		if p.Size < c.MinPart {
			return nil, meta.ErrPartTooSmall
		}
	}
	return chosen, nil
}

func (m *machine) complete() {
	b, u := m.upload()
	c := &meta.CompleteUpload{Bucket: b.rec, Key: u.Key, UploadID: u.ID, Size: -1, Version: m.id(), ModTime: m.int("mtime", 0, 9), If: m.condition(), Due: m.int("due", -3, 3), Seal: seal}
	chosen, want := m.choose(u, c)
	old := b.object(u.Key)
	if want == nil {
		want = condition(c.If, old)
	}
	var size int64
	for _, p := range chosen {
		size += p.Size
	}
	if want == nil && m.int("size given", 0, 3) == 0 {
		if c.Size = size + m.int("size off", 0, 1); c.Size != size {
			want = meta.ErrConflict
		}
	}
	if !m.expect(c, want) {
		return
	}
	o := u.Object
	o.Key, o.Version, o.Size, o.ModTime, o.PartCount = u.Key, c.Version, size, c.ModTime, int32(len(chosen))
	o.ETag, o.Checksum, _ = seal(nil, chosen)
	same(m.t, "completed object", c.Result, o)
	if old != nil {
		m.model.drop(b.rec.Slot, *old, c.Due)
	}
	used := map[int32]bool{}
	for _, p := range chosen {
		used[p.Number] = true
	}
	for n, p := range u.parts {
		if !used[n] {
			m.model.enqueue(b.rec.Slot, c.Due, meta.Version{}, p.Blob)
		}
	}
	m.model.enqueue(b.rec.Slot, c.ModTime+int64(24*time.Hour), meta.Version{}, layout.Blob{ID: layout.BlobID(u.ID)})
	b.objects[u.Key] = objectModel{Object: o, parts: chosen}
	b.completed[u.ID] = completedModel{u.Key, o.Version}
	delete(b.uploads, u.ID)
}

// completeAgain repeats a completion that was answered.
func (m *machine) completeAgain() {
	b := m.bucket()
	if len(b.completed) == 0 {
		m.t.Skip("no completed upload")
	}
	ids := sortedIDs(b.completed)
	id := ids[m.int("upload", 0, int64(len(ids)-1))]
	done := b.completed[id]
	before := m.s.Applied()
	c := &meta.CompleteUpload{Bucket: b.rec, Key: done.key, UploadID: id, Size: -1, Version: m.id(), Seal: seal}
	if o := b.object(done.key); o != nil && o.Version == done.version {
		m.expect(c, nil)
		same(m.t, "completed object", c.Result, o.Object)
	} else {
		m.expect(c, meta.ErrNoUpload)
	}
	if m.s.Applied() != before {
		m.t.Fatalf("a repeated completion changed something")
	}
	c.Key += "-"
	if len(c.Key) <= 1024 {
		m.expect(c, meta.ErrNoUpload)
	}
}
