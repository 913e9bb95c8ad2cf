package main

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

const stampHeader = "x-amz-meta-stamp"

// worker owns keys and writes them one operation at a time.
type worker struct {
	t       *tester
	id      int
	prefix  string
	rng     *rand.Rand
	objects []*object
	uploads []*upload // open, and of unknown outcome
	opening *object   // key of a CreateMultipartUpload of unknown outcome
}

// names are forms of keys: each is worth a test of encoding, and "k" and "k/x"
// exist side by side.
var names = [...]string{"k%03d", "k%03d/below", "dir/k%03d", "dir//k%03d", "sp ace+%%/k%03d", "ünïcode-€/k%03d", "k%03d.a&b=c;d", "~k%03d'()*!"}

func newWorker(t *tester, id int) *worker {
	w := &worker{t: t, id: id, prefix: fmt.Sprintf("w%02d/", id), rng: rand.New(rand.NewPCG(t.o.seed, uint64(id)+1))}
	for i := range t.o.keys {
		w.objects = append(w.objects, newObject(w.prefix+fmt.Sprintf(names[i%len(names)], i/len(names))))
	}
	return w
}

// loop works until the daemon is killed. Its error is a violation.
func (w *worker) loop() error {
	for !w.t.killing.Load() {
		err := w.step()
		switch {
		case err == nil:
			w.t.acked.Add(1)
		case errors.Is(err, errGone) && w.t.killing.Load():
			w.t.inPlace.Add(1)
			return nil
		default:
			return err
		}
	}
	return nil
}

// step does one operation.
func (w *worker) step() error {
	if w.bytes() > w.t.o.maxBytes/int64(w.t.o.workers) {
		return w.shrink()
	}
	o := w.objects[w.rng.IntN(len(w.objects))]
	switch n := w.rng.IntN(100); {
	case n < 32:
		return w.put(o, nil)
	case n < 47:
		return w.read(o)
	case n < 61:
		other := w.t.workers[w.rng.IntN(len(w.t.workers))]
		return w.read(other.objects[w.rng.IntN(len(other.objects))])
	case n < 66:
		return w.remove(o)
	case n < 68:
		return w.removeSome()
	case n < 75:
		return w.copy(w.objects[w.rng.IntN(len(w.objects))], o)
	case n < 83:
		return w.conditional(o)
	case n < 88:
		return w.compete()
	case n < 98:
		return w.multipart(o)
	default:
		return w.list()
	}
}

// bytes is what the worker's objects and parts take.
func (w *worker) bytes() (sum int64) {
	for _, o := range w.objects {
		if v := o.now(); v != nil {
			sum += v.size
		}
	}
	for _, u := range w.uploads {
		sum += u.bytes()
	}
	return sum
}

// shrink deletes the worker's largest object.
func (w *worker) shrink() error {
	var largest *object
	var most int64 = -1
	for _, o := range w.objects {
		if v := o.now(); v != nil && v.size > most {
			largest, most = o, v.size
		}
	}
	if largest == nil { // only parts
		return w.abort(w.uploads[0])
	}
	return w.remove(largest)
}

// size draws the size of an object: around the inline limit, a frame, several.
func (w *worker) size() int64 {
	switch n := w.rng.IntN(100); {
	case n < 5:
		return 0
	case n < 35:
		return 1 + w.rng.Int64N(4<<10)
	case n < 50:
		return 32<<10 - 64 + w.rng.Int64N(128)
	case n < 72:
		return w.rng.Int64N(256 << 10)
	case n < 80:
		return 256<<10 - 64 + w.rng.Int64N(128)
	case n < 97:
		return w.rng.Int64N(3 << 20)
	default:
		return 3<<20 + w.rng.Int64N(5<<20)
	}
}

func (w *worker) fresh(size int64) *value {
	return newValue(content{{w.rng.Uint64(), size}}, w.t.stamp(w.id))
}

// write sends a request that is to make o hold v (nil: nothing). It returns the
// answer when that is the status wanted or one of others, for which nothing has
// been written.
func (w *worker) write(o *object, v *value, c *call, wanted int, others ...int) (*reply, error) {
	o.begin(v)
	r, err := w.t.client.do(c)
	if err != nil {
		return nil, err
	}
	if r.status == wanted {
		o.ack()
		return r, nil
	}
	for _, s := range others {
		if r.status == s {
			return r, o.refused()
		}
	}
	return nil, r.unexpected(c)
}

// put writes a new value of o under the conditions given.
func (w *worker) put(o *object, conditions map[string]string) error {
	v := w.fresh(w.size())
	r, err := w.write(o, v, w.putCall(o.key, v, conditions), http.StatusOK)
	if err != nil {
		return err
	}
	return sameTag(o.key, r, v)
}

func sameTag(key string, r *reply, v *value) error {
	if r.etag() != v.etag {
		return violate("a PUT of %s was answered with etag %s, not that of %v", key, r.etag(), v)
	}
	return nil
}

func (w *worker) putCall(key string, v *value, conditions map[string]string) *call {
	c := &call{method: http.MethodPut, key: key, body: v.body, header: map[string]string{stampHeader: v.stamp}}
	for name, value := range conditions {
		c.header[name] = value
	}
	if w.rng.IntN(3) == 0 {
		sum := v.body.md5()
		c.header["Content-MD5"] = base64.StdEncoding.EncodeToString(sum[:])
	}
	return c
}

func (w *worker) remove(o *object) error {
	_, err := w.write(o, nil, &call{method: http.MethodDelete, key: o.key}, http.StatusNoContent)
	return err
}

// removeSome deletes a few keys, some of which may not exist, in one request.
func (w *worker) removeSome() error {
	var some []*object
	body := []byte("<Delete><Quiet>false</Quiet>")
	for _, i := range w.rng.Perm(len(w.objects))[:2] {
		o := w.objects[i]
		some = append(some, o)
		body = append(body, "<Object><Key>"...)
		var escaped bytes.Buffer
		if err := xml.EscapeText(&escaped, []byte(o.key)); err != nil {
			return err
		}
		body = append(append(body, escaped.Bytes()...), "</Key></Object>"...)
	}
	body = append(body, "</Delete>"...)
	sum := md5.Sum(body)
	c := &call{method: http.MethodPost, query: url.Values{"delete": {""}}, raw: body,
		header: map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])}}
	for _, o := range some {
		o.begin(nil)
	}
	r, err := w.t.client.do(c)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name   `xml:"DeleteResult"`
		Deleted []struct{} `xml:"Deleted"`
	}
	if r.status != http.StatusOK || xml.Unmarshal(r.body, &doc) != nil || len(doc.Deleted) != len(some) {
		return r.unexpected(c)
	}
	for _, o := range some {
		o.ack()
	}
	return nil
}

// copy copies within the bucket; the copy's entity tag is that of a plain object.
func (w *worker) copy(from, to *object) error {
	src := from.now()
	stamp := w.t.stamp(w.id)
	c := &call{method: http.MethodPut, key: to.key, header: map[string]string{
		"x-amz-copy-source": encodePath("/" + bucket + "/" + from.key),
	}}
	if from == to || w.rng.IntN(2) == 0 {
		c.header["x-amz-metadata-directive"] = "REPLACE"
		c.header[stampHeader] = stamp
	} else if src != nil {
		stamp = src.stamp
	}
	if src == nil {
		r, err := w.t.client.do(c)
		if err == nil && (r.status != http.StatusNotFound || r.code() != "NoSuchKey") {
			err = r.unexpected(c)
		}
		return err
	}
	v := newValue(src.body, stamp)
	r, err := w.write(to, v, c, http.StatusOK)
	if err != nil {
		return err
	}
	var doc struct {
		XMLName xml.Name `xml:"CopyObjectResult"`
		ETag    string
	}
	if err := xml.Unmarshal(r.body, &doc); err != nil || strings.Trim(doc.ETag, `"`) != v.etag {
		return violate("a copy of %s to %s should yield %v, but was answered %s", from.key, to.key, v, r.body)
	}
	return nil
}

// conditional writes under a condition that holds, or one that does not.
func (w *worker) conditional(o *object) error {
	v := o.now()
	holds := w.rng.IntN(2) == 0
	var conditions map[string]string
	switch {
	case v == nil && holds:
		conditions = map[string]string{"If-None-Match": "*"}
	case v == nil:
		conditions = map[string]string{"If-Match": `"00000000000000000000000000000000"`}
	case holds:
		conditions = map[string]string{"If-Match": `"` + v.etag + `"`}
	case w.rng.IntN(2) == 0:
		conditions = map[string]string{"If-Match": `"00000000000000000000000000000000"`}
	default:
		conditions = map[string]string{"If-None-Match": "*"}
	}
	if holds {
		return w.put(o, conditions)
	}
	next := w.fresh(w.size())
	c := w.putCall(o.key, next, conditions)
	status := http.StatusPreconditionFailed
	if v == nil {
		status = http.StatusNotFound // If-Match without an object: NoSuchKey
	}
	_, err := w.write(o, next, c, 0, status)
	return err
}

// compete tries to be the first to create a contended key.
func (w *worker) compete() error {
	r := w.t.race()
	if r == nil {
		return nil
	}
	v := w.fresh(w.size())
	c := w.putCall(r.key, v, map[string]string{"If-None-Match": "*"})
	r.enter(v)
	answer, err := w.t.client.do(c)
	if err != nil {
		return err
	}
	switch answer.status {
	case http.StatusOK, http.StatusConflict, http.StatusPreconditionFailed:
	default:
		return answer.unexpected(c)
	}
	if err := r.leave(v, answer.status); err != nil {
		return err
	}
	return w.readRace(r)
}

func (w *worker) readRace(r *race) error {
	allowed := r.possible()
	if len(allowed) != 1 || allowed[0] == nil {
		return nil // a reader could tell nothing yet
	}
	_, err := w.t.fetch(r.key, r.look)
	return err
}
