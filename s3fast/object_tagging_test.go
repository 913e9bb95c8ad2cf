package s3fast

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

func tagSet(pairs ...string) string {
	doc := "<Tagging><TagSet>"
	for i := 0; i+1 < len(pairs); i += 2 {
		doc += "<Tag><Key>" + pairs[i] + "</Key><Value>" + pairs[i+1] + "</Value></Tag>"
	}
	return doc + "</TagSet></Tagging>"
}

// tagsOf reads an object's tags: name, value pairs.
func (r *rig) tagsOf(target string) (out []string) {
	r.t.Helper()
	doc := r.want(call{method: "GET", target: target + "?tagging"}, "200").body
	values := elements(doc, "Value")
	for i, name := range elements(doc, "Key") {
		out = append(out, name, values[i])
	}
	return out
}

func TestObjectTagging(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "data")
	before := r.want(call{method: "HEAD", target: "/bkt/k"}, "200")
	if v := before.header.Get("x-amz-tagging-count"); v != "" {
		t.Errorf("count %q", v)
	}
	r.want(call{method: "PUT", target: "/bkt/k?tagging", body: tagSet("a", "1", "b é", "")}, "200")
	equal(t, "tags", r.tagsOf("/bkt/k"), []string{"a", "1", "b é", ""})
	after := r.want(call{method: "GET", target: "/bkt/k"}, "200")
	if after.header.Get("x-amz-tagging-count") != "2" || after.body != "data" ||
		after.header.Get("ETag") != before.header.Get("ETag") || after.header.Get("Last-Modified") != before.header.Get("Last-Modified") {
		t.Errorf("%v", after.header)
	}
	r.want(call{method: "PUT", target: "/bkt/k?tagging&versionId=null", body: tagSet("c", "3")}, "200")
	equal(t, "tags", r.tagsOf("/bkt/k"), []string{"c", "3"})
	r.want(call{method: "DELETE", target: "/bkt/k?tagging"}, "204")
	equal(t, "tags", r.tagsOf("/bkt/k"), nil)

	for target, want := range map[string]string{
		"/bkt/none?tagging": "404 NoSuchKey", "/none/k?tagging": "404 NoSuchBucket", "/bkt/k?tagging&versionId=x": "400 InvalidArgument",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r.want(call{method: method, target: target, body: map[bool]string{true: tagSet("a", "b")}[method == "PUT"]}, want)
		}
	}
	for body, want := range map[string]string{
		"":                         "400 MalformedXML",
		"<Tagging/>":               "400 MalformedXML",
		tagSet("", "v"):            "400 InvalidTag",
		tagSet("a", "<"):           "400 MalformedXML",
		tagSet("a", "#"):           "400 InvalidTag",
		tagSet("aws:x", "v"):       "400 InvalidTag",
		tagSet("a", "1", "a", "2"): "400 InvalidTag",
		tagSet(strings.Split(strings.Repeat("k,v,", 11), ",")...): "400 BadRequest",
	} {
		if a := r.do(call{method: "PUT", target: "/bkt/k?tagging", body: body}); a.String() != want {
			t.Errorf("%.60s: %v, want %s", body, a, want)
		}
	}
	r.want(call{method: "PUT", target: "/bkt/k?tagging", body: tagSet("a", "b"), user: rigReader}, "403 AccessDenied")
	r.want(call{method: "DELETE", target: "/bkt/k?tagging", user: rigReader}, "403 AccessDenied")
	equal(t, "tags", r.tagsOf("/bkt/k"), nil)
}

func TestTagsOnWrites(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	tagged := with("x-amz-tagging", "a=1&b+c=%C3%A9&d")
	want := []string{"a", "1", "b c", "é", "d", ""}
	r.want(call{method: "PUT", target: "/bkt/k", body: "data", header: tagged}, "200")
	equal(t, "put", r.tagsOf("/bkt/k"), want)
	up := r.want(call{method: "POST", target: "/bkt/m?uploads", header: tagged}, "200")
	id := elements(up.body, "UploadId")[0]
	part := r.want(call{method: "PUT", target: "/bkt/m?partNumber=1&uploadId=" + id, body: "part"}, "200")
	r.want(call{method: "POST", target: "/bkt/m?uploadId=" + id, body: "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>" +
		part.header.Get("ETag") + "</ETag></Part></CompleteMultipartUpload>"}, "200")
	equal(t, "multipart", r.tagsOf("/bkt/m"), want)
	source := with("x-amz-copy-source", "/bkt/k")
	r.want(call{method: "PUT", target: "/bkt/c", header: source}, "200")
	equal(t, "copied", r.tagsOf("/bkt/c"), want)
	r.want(call{method: "PUT", target: "/bkt/c", header: append(source, [][2]string{{"x-amz-tagging-directive", "REPLACE"}, {"x-amz-tagging", "n=1"}}...)}, "200")
	equal(t, "replaced", r.tagsOf("/bkt/c"), []string{"n", "1"})
	r.want(call{method: "PUT", target: "/bkt/c", header: append(source, [2]string{"x-amz-tagging-directive", "REPLACE"})}, "200")
	equal(t, "dropped", r.tagsOf("/bkt/c"), nil)
	for _, v := range []string{"a=1&a=2", "=1", "aws:a=1", "a=%zz", strings.Repeat("a", 129) + "=1", "a=" + strings.Repeat("b", 257)} {
		if a := r.do(call{method: "PUT", target: "/bkt/bad", body: "x", header: with("x-amz-tagging", v)}); a.status != 400 {
			t.Errorf("%s: %v", v, a)
		}
	}
	r.want(call{method: "GET", target: "/bkt/bad"}, "404 NoSuchKey")
}

// TestTagPermissions: tags take permissions of their own, and policies may ask
// for those an object has and for those it is to get.
func TestTagPermissions(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	ctx := t.Context()
	for name, statements := range map[string]string{
		"writer": `{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject","s3:ListBucket"],"Resource":"*"}`,
		"tagger": `{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectTagging","s3:PutObject","s3:ListBucket"],"Resource":"*"},
			{"Effect":"Allow","Action":"s3:PutObjectTagging","Resource":"*","Condition":{"StringEquals":{"s3:RequestObjectTag/team":"red"}}},
			{"Effect":"Allow","Action":"s3:DeleteObjectTagging","Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/team":"red"}}}`,
	} {
		_, err := r.iam.AddPolicy(ctx, name, []byte(`{"Version":"2012-10-17","Statement":[`+statements+`]}`), false)
		must(t, err)
		_, err = r.iam.AddUser(ctx, name, iam.S3, rigSecret)
		must(t, err)
		must(t, r.iam.Attach(ctx, name, name))
	}
	r.want(call{method: "PUT", target: "/bkt/blue", body: "x", header: with("x-amz-tagging", "team=blue")}, "200")
	for _, row := range []struct {
		c    call
		want string
	}{
		{call{method: "PUT", target: "/bkt/w", body: "x", user: "writer"}, "200"},
		{call{method: "PUT", target: "/bkt/w", body: "x", user: "writer", header: with("x-amz-tagging", "a=b")}, "403 AccessDenied"},
		{call{method: "GET", target: "/bkt/blue?tagging", user: "writer"}, "403 AccessDenied"},
		{call{method: "PUT", target: "/bkt/w", user: "writer", header: with("x-amz-copy-source", "/bkt/blue")}, "403 AccessDenied"},
		{call{method: "PUT", target: "/bkt/r", body: "x", user: "tagger", header: with("x-amz-tagging", "team=red")}, "200"},
		{call{method: "PUT", target: "/bkt/r", body: "x", user: "tagger", header: with("x-amz-tagging", "team=blue")}, "403 AccessDenied"},
		{call{method: "PUT", target: "/bkt/blue?tagging", body: tagSet("team", "green"), user: "tagger"}, "403 AccessDenied"},
		{call{method: "DELETE", target: "/bkt/blue?tagging", user: "tagger"}, "403 AccessDenied"},
		{call{method: "PUT", target: "/bkt/none?tagging", body: tagSet("team", "green"), user: "tagger"}, "403 AccessDenied"},
		{call{method: "PUT", target: "/bkt/none?tagging", body: tagSet("team", "red"), user: "tagger"}, "404 NoSuchKey"},
		{call{method: "PUT", target: "/bkt/blue?tagging", body: tagSet("team", "red"), user: "tagger"}, "200"},
		{call{method: "DELETE", target: "/bkt/blue?tagging", user: "tagger"}, "204"},
	} {
		if a := r.do(row.c); strings.TrimSpace(a.String()) != row.want {
			t.Errorf("%s %s %v by %s: %v, want %s\n%s", row.c.method, row.c.target, row.c.header, row.c.user, a, row.want, a.body)
		}
	}
	if a := r.do(call{method: "GET", target: "/bkt/r", user: "writer"}); a.header.Get("x-amz-tagging-count") != "" {
		t.Error("the number of tags was told to someone who may not read them")
	}
	if a := r.do(call{method: "GET", target: "/bkt/r", user: "tagger"}); a.header.Get("x-amz-tagging-count") != "1" {
		t.Error("no number of tags")
	}
}

func FuzzTagging(f *testing.F) {
	f.Add("a=1&b+c=%C3%A9&d")
	f.Add("aws:a=1&=&&")
	f.Fuzz(func(t *testing.T, v string) {
		tags, err := parseTagging(v)
		if err != nil {
			if !isCode(err, s3err.InvalidArgument) && !isCode(err, s3err.InvalidTag) && !isCode(err, s3err.BadRequest) {
				t.Fatal(err)
			}
			return
		}
		// What was accepted survives being written as a document of a form.
		text, err := taggingField(tagSet(flat(tags)...))
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseTagging(text)
		if err != nil || len(again) != len(tags) || len(tags) > maxObjectTags {
			t.Fatalf("%q: %v, %v", text, again, err)
		}
		for i := range tags {
			if tags[i] != again[i] || len(tags[i].Name) > 4*maxTagKey || len(tags[i].Value) > 4*maxTagValue {
				t.Fatalf("%q, want %q", again[i], tags[i])
			}
		}
	})
}

func flat(tags []meta.Header) (out []string) {
	for _, t := range tags {
		out = append(out, t.Name, t.Value)
	}
	return out
}
