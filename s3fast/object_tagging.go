package s3fast

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// Limits of an object's tags, in characters (Amazon S3 User Guide, "Categorizing
// your objects using tags").
const (
	maxObjectTags = 10
	maxTagKey     = 128
	maxTagValue   = 256
)

const (
	taggingHeader    = "x-amz-tagging"
	taggingDirective = "x-amz-tagging-directive"
)

// parseTagging parses the value of x-amz-tagging: "name=value&…", URL-encoded.
// Errors: InvalidArgument, and those of checkTags.
func parseTagging(v string) ([]meta.Header, error) {
	pairs, ok := parseQuery(nil, v)
	if !ok {
		return nil, s3err.InvalidArgument.Say("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.").
			With("ArgumentName", taggingHeader)
	}
	if len(pairs) == 0 {
		return nil, nil
	}
	tags := make([]meta.Header, len(pairs))
	for i, p := range pairs {
		tags[i] = meta.Header{Name: p.name, Value: p.value}
	}
	return tags, checkTags(tags)
}

// checkTags holds tags against S3's rules. Errors: BadRequest, InvalidTag.
func checkTags(tags []meta.Header) error {
	if len(tags) > maxObjectTags {
		return s3err.BadRequest.Say("Object tags cannot be greater than 10")
	}
	for i := range tags {
		t := &tags[i]
		switch {
		case t.Name == "" || !tagText(t.Name, maxTagKey):
			return s3err.InvalidTag.Say("The TagKey you have provided is invalid").With("TagKey", t.Name)
		case !tagText(t.Value, maxTagValue):
			return s3err.InvalidTag.Say("The TagValue you have provided is invalid").With("TagKey", t.Name, "TagValue", t.Value)
		case len(t.Name) >= 4 && strings.EqualFold(t.Name[:4], "aws:"):
			return s3err.InvalidTag.Say("System tags cannot be added/updated by requester").With("TagKey", t.Name)
		}
		for j := range i {
			if tags[j].Name == t.Name {
				return s3err.InvalidTag.Say("Cannot provide multiple Tags with the same key").With("TagKey", t.Name)
			}
		}
	}
	return nil
}

// tagText tells whether s has at most max characters, all of them letters, marks,
// numbers, spaces, or + - = . _ : / @.
func tagText(s string, max int) bool {
	if len(s) > max*utf8.UTFMax || !utf8.ValidString(s) || utf8.RuneCountInString(s) > max {
		return false
	}
	for _, c := range s {
		if !unicode.In(c, unicode.L, unicode.M, unicode.N, unicode.Zs) && !strings.ContainsRune("+-=._:/@", c) {
			return false
		}
	}
	return true
}

// requestTags are the tags that the request gives: in x-amz-tagging, or in the
// body once PutObjectTagging has read it. They are parsed once. Errors: those of
// parseTagging.
func (r *request) requestTags() ([]meta.Header, error) {
	if r.tagged {
		return r.tags, nil
	}
	v, ok := r.headers.get(taggingHeader)
	if !ok {
		return nil, nil
	}
	tags, err := parseTagging(v)
	if err != nil {
		return nil, err
	}
	r.tags, r.tagged = tags, true
	return tags, nil
}

// giveTags gives an object about to be stored the tags that the request asks
// for, by someone who may (API Reference, PutObject, "Permissions").
func (r *request) giveTags(o *meta.Object) error {
	tags, err := r.requestTags()
	if err != nil {
		return err
	}
	if len(tags) > 0 && !r.allows("s3:PutObjectTagging", r.bucket, r.key) {
		return s3err.AccessDenied.New()
	}
	o.Tags = tags
	return nil
}

// copyTags gives a copy its tags: the request's, or the source's, for someone
// who may read those and set these (API Reference, CopyObject, "Permissions").
func (r *request) copyTags(o *meta.Object, src *source, replace bool) error {
	if replace {
		return r.giveTags(o)
	}
	if len(src.Info.Tags) > 0 && (!r.allows("s3:GetObjectTagging", src.bucket, src.key) ||
		!r.allows("s3:PutObjectTagging", r.bucket, r.key)) {
		return s3err.AccessDenied.New()
	}
	o.Tags = src.Info.Tags
	return nil
}

func (t *routes) addTagging() {
	version := []string{"versionId"}
	t.add(onObject, "GET", "tagging", operation{name: "GetObjectTagging", action: "s3:GetObjectTagging",
		version: []string{"s3:GetObjectVersionTagging"}, run: getObjectTagging, params: version})
	// What setting them takes is asked by setTags: of the tags that the body tells,
	// and of exactly the version that is changed.
	t.add(onObject, "PUT", "tagging", operation{name: "PutObjectTagging",
		run: putObjectTagging, params: version, body: bodyXML})
	t.add(onObject, "DELETE", "tagging", operation{name: "DeleteObjectTagging",
		run: deleteObjectTagging, params: version})
}

// getObjectTagging answers GetObjectTagging.
func getObjectTagging(r *request) error {
	if err := r.checkVersion(); err != nil {
		return err
	}
	o, err := r.s.cfg.Engine.Head(r.context(), r.bucket, r.key)
	if err != nil {
		return err
	}
	tags := make([]s3xml.Tag, len(o.Tags))
	for i, t := range o.Tags {
		tags[i] = s3xml.Tag{Key: t.Name, Value: t.Value}
	}
	r.answerXML(s3xml.AppendTagging(nil, tags))
	return nil
}

// putObjectTagging answers PutObjectTagging.
func putObjectTagging(r *request) error {
	if err := r.checkVersion(); err != nil {
		return err
	}
	doc, err := r.readXML(s3xml.MaxTagging)
	if err != nil {
		return err
	}
	list, err := s3xml.DecodeTagging(doc)
	if err != nil {
		return err
	}
	tags := make([]meta.Header, len(list))
	for i, t := range list {
		tags[i] = meta.Header{Name: t.Key, Value: t.Value}
	}
	if err := checkTags(tags); err != nil {
		return err
	}
	r.tags, r.tagged = tags, true
	return r.setTags("s3:PutObjectTagging", tags)
}

// deleteObjectTagging answers DeleteObjectTagging.
func deleteObjectTagging(r *request) error {
	if err := r.checkVersion(); err != nil {
		return err
	}
	if err := r.setTags("s3:DeleteObjectTagging", nil); err != nil {
		return err
	}
	r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// setTags changes the tags of exactly the version that was looked at before the
// question was asked whether that is allowed: the answer may depend on the tags
// it had.
func (r *request) setTags(action string, tags []meta.Header) error {
	o, lookup := r.s.cfg.Engine.Head(r.context(), r.bucket, r.key)
	if lookup != nil && engine.KindOf(lookup) != engine.NoObject {
		return lookup
	}
	if r.query.has("versionId") {
		action = versionAction(action)
	}
	// The tags that the object has now, and not those that an earlier question saw.
	q := question{r: r, bucket: r.bucket, key: r.key, set: r.settings, tags: o.Tags, tagged: true}
	d, err := q.ask(action)
	if err != nil {
		return err
	}
	if d != policy.Allow {
		return r.denied(action, r.bucket, r.key, d)
	}
	if lookup != nil {
		return lookup
	}
	_, err = r.s.cfg.Engine.SetTags(r.context(), r.bucket, r.key, o.Version, tags)
	return err
}

// versionAction is the action on a version that goes with one on an object:
// "s3:PutObjectTagging" becomes "s3:PutObjectVersionTagging".
func versionAction(action string) string {
	verb, rest, _ := strings.Cut(action, "Object")
	return verb + "ObjectVersion" + rest
}
