package s3fast

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
)

// Of a class that says nothing of protection nothing is stored; a known one is kept
// with the object and told wherever S3 tells it.
func TestStorageClassIsKept(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	reduced := with(storageClassHeader, storageReduced)
	r.want(call{method: "PUT", target: "/bkt/r", body: "x", header: reduced}, "200")
	r.want(call{method: "PUT", target: "/bkt/s", body: "x", header: with(storageClassHeader, storageStandard)}, "200")
	for key, class := range map[string]string{"r": storageReduced, "s": ""} {
		for _, method := range []string{"GET", "HEAD"} {
			a := r.raw(method, r.head(call{method: method, target: "/bkt/" + key}))
			equal(t, method+" "+key, []string{a.header.Get(storageClassHeader)}, []string{class})
		}
		a := r.want(call{method: "GET", target: "/bkt/" + key + "?attributes", header: with(attributesHeader, "StorageClass")}, "200")
		equal(t, "attributes of "+key, elements(a.body, "StorageClass"), []string{shownClass(class)})
	}
	for _, query := range []string{"", "?list-type=2"} {
		a := r.want(call{method: "GET", target: "/bkt" + query}, "200")
		equal(t, "list "+query, elements(a.body, "StorageClass"), []string{storageReduced, storageStandard})
	}
	// A copy has the class that is asked for, else STANDARD (API Reference, CopyObject).
	r.want(call{method: "PUT", target: "/bkt/c", header: with(copySourceHeader, "/bkt/r")}, "200")
	equal(t, "copy", []string{r.want(call{method: "GET", target: "/bkt/c"}, "200").header.Get(storageClassHeader)}, []string{""})
	r.want(call{method: "PUT", target: "/bkt/c", header: with(copySourceHeader, "/bkt/c")}, "400 InvalidRequest")
	r.want(call{method: "PUT", target: "/bkt/c", header: append(with(copySourceHeader, "/bkt/c"), reduced...)}, "200")
	equal(t, "own copy", []string{r.want(call{method: "GET", target: "/bkt/c"}, "200").header.Get(storageClassHeader)}, []string{storageReduced})
	r.want(call{method: "PUT", target: "/bkt/g", body: "x", header: with(storageClassHeader, "DEEP_ARCHIVE")}, "400 InvalidStorageClass")
	r.want(call{method: "POST", target: "/bkt/g?uploads", header: with(storageClassHeader, "ONEZONE_IA")}, "400 InvalidStorageClass")
	r.want(call{method: "GET", target: "/bkt/g"}, "404 NoSuchKey")
}

// An upload's class is that of the object that it becomes.
func TestStorageClassOfUploads(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	a := r.want(call{method: "POST", target: "/bkt/k?uploads", header: with(storageClassHeader, storageReduced)}, "200")
	id := elements(a.body, "UploadId")[0]
	a = r.want(call{method: "GET", target: "/bkt?uploads"}, "200")
	equal(t, "uploads", elements(a.body, "StorageClass"), []string{storageReduced})
	part := r.want(call{method: "PUT", target: "/bkt/k?partNumber=1&uploadId=" + id, body: "x"}, "200")
	a = r.want(call{method: "GET", target: "/bkt/k?uploadId=" + id}, "200")
	equal(t, "parts", elements(a.body, "StorageClass"), []string{storageReduced})
	r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" +
		part.header.Get("ETag") + "</ETag></Part></CompleteMultipartUpload>"}, "200")
	equal(t, "object", []string{r.want(call{method: "GET", target: "/bkt/k"}, "200").header.Get(storageClassHeader)}, []string{storageReduced})
	a = r.want(call{method: "GET", target: "/bkt?list-type=2"}, "200")
	equal(t, "list", elements(a.body, "StorageClass"), []string{storageReduced})
}

func TestReducedParity(t *testing.T) {
	for _, c := range []struct{ standard, all, want int }{
		{engine.ParityNone, engine.ParityNone, engine.ParityNone},
		{engine.ParityDefault, 0, engine.ParityDefault},
		{engine.ParityDefault, 1, engine.ParityDefault},
		{engine.ParityDefault, 2, 1}, {engine.ParityDefault, 3, 2},
		{1, 1, 1}, {2, 2, 1}, {4, 4, 3},
	} {
		if got := reducedParity(c.standard, c.all); got != c.want {
			t.Errorf("parity %d (%d): %d, want %d", c.standard, c.all, got, c.want)
		}
	}
}

// What is written has the parity of its class and bucket.
func TestParityOfObjects(t *testing.T) {
	r := newRigOn(t, 5, nil)
	ctx := t.Context()
	r.bucket("bkt")
	body := strings.Repeat("parity", 100_000)
	check := func(step string, header [][2]string, want int) {
		t.Helper()
		r.want(call{method: "PUT", target: "/bkt/k", body: body, header: header}, "200")
		obj, err := r.engine.Get(ctx, "bkt", "k")
		must(t, err)
		defer obj.Close()
		if got := int(obj.Info.Blob.Parity); got != want {
			t.Errorf("%s: parity %d, want %d", step, got, want)
		}
		if a := r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.body != body {
			t.Errorf("%s: other bytes", step)
		}
	}
	reduced := with(storageClassHeader, storageReduced)
	check("default", nil, 2)
	check("reduced", reduced, 1)
	r.engine.SetParity(3)
	check("cluster 3", nil, 3)
	check("cluster 3, reduced", reduced, 2)
	must(t, r.s.SetBucketParity(ctx, "bkt", 1))
	check("bucket 1", nil, 1)
	check("bucket 1, reduced", reduced, 1)
	must(t, r.s.SetBucketParity(ctx, "bkt", engine.ParityNone))
	check("bucket 0", nil, 0)
	check("bucket 0, reduced", reduced, 0)
	must(t, r.s.SetBucketParity(ctx, "bkt", engine.ParityDefault))
	check("default again", nil, 3)
}

// A parity that cannot be read is no reason to close the bucket, and is told.
func TestBucketParityDocument(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	for value, want := range map[string]int{"0": engine.ParityNone, "1": 1, "4": layout.MaxParity} {
		_, err := r.engine.Docs("bkt").Put(ctx, docParity, []byte(value), -1)
		must(t, err)
		if got, err := r.s.BucketParity(ctx, "bkt"); err != nil || got != want {
			t.Errorf("%q: %d, %v", value, got, err)
		}
		if err := CheckParityDocument([]byte(value)); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	for _, value := range []string{"", "5", "9", "-1", "10", "1 ", "\x00", "x"} {
		if err := CheckParityDocument([]byte(value)); !errors.Is(err, ErrBadParity) {
			t.Errorf("%q: %v", value, err)
		}
	}
	_, err := r.engine.Docs("bkt").Put(ctx, docParity, []byte("9"), -1)
	must(t, err)
	b, err := r.engine.Bucket(ctx, "bkt")
	must(t, err)
	r.s.settings.forget(b.ID)
	r.put("/bkt/k", "x")
	r.want(call{method: "GET", target: "/bkt/k"}, "200")
	if _, err := r.s.BucketParity(ctx, "bkt"); !errors.Is(err, ErrBadParity) {
		t.Errorf("damaged: %v", err)
	}
	for _, parity := range []int{5, -2} {
		if err := r.s.SetBucketParity(ctx, "bkt", parity); !errors.Is(err, ErrBadParity) {
			t.Errorf("%d: %v", parity, err)
		}
	}
	must(t, r.s.SetBucketParity(ctx, "bkt", engine.ParityDefault))
	if got, err := r.s.BucketParity(ctx, "bkt"); err != nil || got != engine.ParityDefault {
		t.Errorf("reset: %d, %v", got, err)
	}
	if _, err := r.s.BucketParity(ctx, "none"); engine.KindOf(err) != engine.NoBucket {
		t.Errorf("no bucket: %v", err)
	}
	if err := r.s.SetBucketParity(ctx, "none", 1); engine.KindOf(err) != engine.NoBucket {
		t.Errorf("no bucket: %v", err)
	}
}
