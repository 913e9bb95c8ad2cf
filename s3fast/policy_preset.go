package s3fast

import (
	"encoding/json"
	"slices"
	"strings"
)

// Names of the bucket policies for anonymous access (WEKA, "weka s3 bucket policy
// set").
const (
	PresetNone     = "none"     // no policy
	PresetDownload = "download" // list and read
	PresetUpload   = "upload"   // write and delete, in one piece or in parts
	PresetPublic   = "public"   // both
	PresetCustom   = "custom"   // what PolicyPreset calls any other policy
)

// Actions of the presets, on the bucket and on its objects.
var (
	downloadBucket = []string{"s3:GetBucketLocation", "s3:ListBucket"}
	downloadObject = []string{"s3:GetObject"}
	uploadBucket   = []string{"s3:GetBucketLocation", "s3:ListBucketMultipartUploads"}
	uploadObject   = []string{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"}
)

// PresetPolicy returns the bucket policy of a preset: JSON, or nil for "none",
// which is to have no policy. ok is false for other names.
func PresetPolicy(name, bucket string) (doc []byte, ok bool) {
	var onBucket, onObjects []string
	switch name {
	case PresetNone:
		return nil, true
	case PresetDownload:
		onBucket, onObjects = downloadBucket, downloadObject
	case PresetUpload:
		onBucket, onObjects = uploadBucket, uploadObject
	case PresetPublic:
		onBucket, onObjects = union(downloadBucket, uploadBucket), union(downloadObject, uploadObject)
	default:
		return nil, false
	}
	type statement struct {
		Effect    string
		Principal map[string][]string
		Action    []string
		Resource  []string
	}
	everybody := map[string][]string{"AWS": {"*"}}
	doc, err := json.MarshalIndent(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{
		{"Allow", everybody, onBucket, []string{resourceARN(bucket, "")}},
		{"Allow", everybody, onObjects, []string{resourceARN(bucket, "*")}},
	}}, "", "  ")
	return doc, err == nil
}

// union merges two lists, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// PolicyPreset returns the name of the preset that a bucket's policy says the
// same as, "none" for no document, "custom" for anything else. Order, spelling of
// single values, Id and Sid do not matter.
func PolicyPreset(doc []byte, bucket string) string {
	if len(doc) == 0 {
		return PresetNone
	}
	shape, ok := policyShape(doc)
	if !ok {
		return PresetCustom
	}
	for _, name := range [...]string{PresetDownload, PresetUpload, PresetPublic} {
		preset, _ := PresetPolicy(name, bucket)
		if want, _ := policyShape(preset); shape == want {
			return name
		}
	}
	return PresetCustom
}

// policyShape brings a policy of plain statements (Effect, Principal, Action,
// Resource) to a form that can be compared. ok is false for others.
func policyShape(doc []byte) (shape string, ok bool) {
	var p struct {
		Version, ID string
		Statement   json.RawMessage
	}
	if json.Unmarshal(doc, &p) != nil {
		return "", false
	}
	var statements []map[string]json.RawMessage
	if json.Unmarshal(p.Statement, &statements) != nil {
		statements = make([]map[string]json.RawMessage, 1)
		if json.Unmarshal(p.Statement, &statements[0]) != nil {
			return "", false
		}
	}
	shapes := make([]string, len(statements))
	for i, s := range statements {
		if shapes[i], ok = statementShape(s); !ok {
			return "", false
		}
	}
	slices.Sort(shapes)
	return strings.Join(slices.Compact(shapes), "\x00\x00"), true
}

func statementShape(s map[string]json.RawMessage) (string, bool) {
	var parts []string
	for name, raw := range s {
		if name == "Sid" {
			continue
		}
		var principal map[string]json.RawMessage
		if name == "Principal" && json.Unmarshal(raw, &principal) == nil {
			if raw = principal["AWS"]; len(principal) != 1 || raw == nil {
				return "", false
			}
		}
		values, ok := stringList(raw)
		if !ok {
			return "", false
		}
		if name == "Action" {
			for i := range values {
				values[i] = strings.ToLower(values[i])
			}
		}
		slices.Sort(values)
		parts = append(parts, name+"="+strings.Join(slices.Compact(values), "\x00"))
	}
	slices.Sort(parts)
	return strings.Join(parts, "\x00\x01"), true
}

// stringList reads a string or a list of strings.
func stringList(raw json.RawMessage) ([]string, bool) {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list, true
	}
	var one string
	err := json.Unmarshal(raw, &one)
	return []string{one}, err == nil
}
