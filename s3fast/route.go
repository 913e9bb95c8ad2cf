package s3fast

import (
	"slices"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// level is what a request addresses.
type level uint8

const (
	onService level = iota
	onBucket
	onObject
)

// routeKey finds an operation: by level, method, and the sub-resource that the
// query names ("" for none).
type routeKey struct {
	level  level
	method string
	sub    string
}

// routes is the operation table. It is immutable once built.
type routes struct {
	table   map[routeKey]*operation
	copied  map[*operation]*operation // in place of the key, with x-amz-copy-source
	sts     map[string]*operation     // by Action of the form
	invalid *operation                // stands for requests that match none
	names   []string                  // operation names by operation.index
}

// subresources are the query parameters that select an operation, wherever S3
// defines them (S3 API Reference, "Actions"). A request names one at most.
var subresources = map[string]bool{
	"accelerate": true, "acl": true, "analytics": true, "attributes": true, "cors": true,
	"delete": true, "encryption": true, "intelligent-tiering": true, "inventory": true,
	"legal-hold": true, "lifecycle": true, "list-type": true, "location": true, "logging": true,
	"metadataConfiguration": true, "metadataInventoryTable": true, "metadataJournalTable": true,
	"metadataTable": true, "metrics": true, "notification": true, "object-lock": true,
	"ownershipControls": true, "policy": true, "policyStatus": true, "publicAccessBlock": true,
	"renameObject": true, "replication": true, "requestPayment": true, "restore": true,
	"retention": true, "select": true, "session": true, "tagging": true, "torrent": true,
	"uploadId": true, "uploads": true, "versioning": true, "versions": true, "website": true,
	"abac": true,
}

// modifiers are parameters that change what an operation does without selecting
// it: one that the operation does not know is refused. Any other parameter is
// ignored, as S3 does (SDKs send x-id, for one).
var modifiers = map[string]bool{"versionId": true, "partNumber": true, "select-type": true}

func newRoutes() *routes {
	t := &routes{
		table:   make(map[routeKey]*operation),
		copied:  make(map[*operation]*operation),
		sts:     make(map[string]*operation),
		invalid: &operation{name: "Invalid"},
	}
	t.register(t.invalid)
	t.addService()
	t.addBucket()
	t.addObject()
	t.addConfigurations()
	t.addEncryption()
	t.addAccess()
	t.addTagging()
	return t
}

func (t *routes) register(op *operation) *operation {
	if i := slices.Index(t.names, op.name); i >= 0 {
		op.index = i
		return op
	}
	op.index = len(t.names)
	t.names = append(t.names, op.name)
	return op
}

func (t *routes) add(l level, method, sub string, op operation) *operation {
	p := t.register(&op)
	t.table[routeKey{l, method, sub}] = p
	return p
}

func (t *routes) addService() {
	t.add(onService, "GET", "", operation{name: "ListBuckets", action: "s3:ListAllMyBuckets",
		run: listBuckets, bucketless: true})
	t.addSTS()
}

func (t *routes) addBucket() {
	t.add(onBucket, "PUT", "", operation{name: "CreateBucket", action: "s3:CreateBucket",
		run: createBucket, bucketless: true, writes: true, body: bodyXML})
	t.add(onBucket, "HEAD", "", operation{name: "HeadBucket", action: "s3:ListBucket", run: headBucket})
	t.add(onBucket, "DELETE", "", operation{name: "DeleteBucket", action: "s3:DeleteBucket", run: deleteBucket})
	t.add(onBucket, "GET", "", operation{name: "ListObjects", action: "s3:ListBucket", run: listObjectsV1, lists: true})
	t.add(onBucket, "GET", "list-type", operation{name: "ListObjectsV2", action: "s3:ListBucket", run: listObjectsV2, lists: true})
	t.add(onBucket, "GET", "versions", operation{name: "ListObjectVersions", action: "s3:ListBucketVersions", run: listObjectVersions, lists: true})
	t.add(onBucket, "GET", "location", operation{name: "GetBucketLocation", action: "s3:GetBucketLocation", run: getBucketLocation})
	t.add(onBucket, "GET", "versioning", operation{name: "GetBucketVersioning", action: "s3:GetBucketVersioning", run: getBucketVersioning})
	t.add(onBucket, "GET", "uploads", operation{name: "ListMultipartUploads",
		action: "s3:ListBucketMultipartUploads", run: listMultipartUploads, lists: true})
	t.add(onBucket, "POST", "delete", operation{name: "DeleteObjects", run: deleteObjects, body: bodyXML})
	// Browser form uploads.
	t.add(onBucket, "POST", "", operation{name: "PostObject", action: "s3:PutObject", run: postObject,
		writes: true, late: true, body: bodyForm})
}

func (t *routes) addObject() {
	version := []string{"versionId"}
	read := []string{"versionId", "partNumber"}
	upload := []string{"partNumber"}
	t.add(onObject, "GET", "", operation{name: "GetObject", action: "s3:GetObject", run: getObject, params: read,
		version: []string{"s3:GetObjectVersion"}})
	t.add(onObject, "HEAD", "", operation{name: "HeadObject", action: "s3:GetObject", run: headObject, params: read,
		version: []string{"s3:GetObjectVersion"}})
	t.add(onObject, "GET", "attributes", operation{name: "GetObjectAttributes", action: "s3:GetObject",
		also: "s3:GetObjectAttributes", run: getObjectAttributes, params: version,
		version: []string{"s3:GetObjectVersion", "s3:GetObjectVersionAttributes"}})
	put := t.add(onObject, "PUT", "", operation{name: "PutObject", action: "s3:PutObject", run: putObject, writes: true, body: bodyStream})
	t.copied[put] = t.register(&operation{name: "CopyObject", action: "s3:PutObject", run: copyObject, writes: true})
	t.add(onObject, "DELETE", "", operation{name: "DeleteObject", action: "s3:DeleteObject", run: deleteObject, params: version, writes: true,
		version: []string{"s3:DeleteObject", "s3:DeleteObjectVersion"}})

	t.add(onObject, "POST", "uploads", operation{name: "CreateMultipartUpload", action: "s3:PutObject", run: createMultipartUpload, writes: true})
	part := t.add(onObject, "PUT", "uploadId", operation{name: "UploadPart", action: "s3:PutObject",
		run: uploadPart, params: upload, body: bodyStream})
	t.copied[part] = t.register(&operation{name: "UploadPartCopy", action: "s3:PutObject",
		run: uploadPartCopy, params: upload})
	t.add(onObject, "POST", "uploadId", operation{name: "CompleteMultipartUpload", action: "s3:PutObject",
		run: completeMultipartUpload, writes: true, body: bodyXML})
	t.add(onObject, "DELETE", "uploadId", operation{name: "AbortMultipartUpload",
		action: "s3:AbortMultipartUpload", run: abortMultipartUpload})
	t.add(onObject, "GET", "uploadId", operation{name: "ListParts",
		action: "s3:ListMultipartUploadParts", run: listParts})
}

// match finds the operation of a parsed request.
func (t *routes) match(r *request) error {
	method := string(r.ctx.Method())
	if method == "OPTIONS" {
		return preflight(r)
	}
	l := onService
	switch {
	case r.key != "":
		l = onObject
	case r.bucket != "":
		l = onBucket
	}
	sub, err := selected(&r.query)
	if err != nil {
		return err
	}
	if l == onService && sub == "" && method != "GET" && !r.asksSTS() {
		return methodNotAllowed(method)
	}
	op := t.table[routeKey{l, method, sub}]
	if op == nil {
		return unmatched(method, sub)
	}
	if _, ok := r.headers.get("x-amz-copy-source"); ok {
		if c := t.copied[op]; c != nil {
			op = c
		}
	}
	r.op = op
	return op.checkParams(&r.query)
}

// selected returns the one sub-resource that the query names, or "".
func selected(q *query) (string, error) {
	sub := ""
	for i := range q.pairs {
		name := q.pairs[i].name
		if !subresources[name] {
			continue
		}
		if sub != "" {
			return "", s3err.InvalidArgument.Say("Conflicting query string parameters: "+sub+", "+name).
				With("ArgumentName", "ResourceType", "ArgumentValue", name)
		}
		sub = name
	}
	return sub, nil
}

// unmatched tells apart a method that the resource does not have from an
// operation that this server does not have.
func unmatched(method, sub string) error {
	if sub == "" {
		return methodNotAllowed(method)
	}
	switch method {
	case "GET", "PUT", "POST", "DELETE":
		return s3err.NotImplemented.Say("The operation " + method + " ?" + sub + " is not implemented.")
	}
	return methodNotAllowed(method)
}

func methodNotAllowed(method string) error {
	return s3err.MethodNotAllowed.With("Method", method)
}

// checkParams refuses what would change the operation and is not acted upon.
func (op *operation) checkParams(q *query) error {
	for i := range q.pairs {
		name := q.pairs[i].name
		if modifiers[name] && !slices.Contains(op.params, name) {
			return s3err.InvalidArgument.Say("This operation does not accept the parameter "+name+".").
				With("ArgumentName", name, "ArgumentValue", q.pairs[i].value)
		}
	}
	return nil
}
