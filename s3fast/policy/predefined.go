package policy

// Predefined returns the document of a predefined policy; ok is false for other
// names.
//
//   - "readonly" reads everything: s3:Get* and s3:List* on all resources, as
//     AWS's managed policy AmazonS3ReadOnlyAccess. Listing is part of it, so that
//     "aws s3 ls", "sync" and "cp --recursive" downwards work, and so that a
//     missing key is told as 404 and not as 403.
//   - "writeonly" uploads, in one request or in parts, with tags, and gives up
//     or resumes its own uploads. It neither reads objects, nor lists their names,
//     nor deletes; a put over an existing key replaces it. s3:GetBucketLocation
//     is there for SDKs that ask for the region first, s3:PutObjectAcl for clients
//     that send the one ACL there is. HeadBucket needs s3:ListBucket and is refused.
//   - "readwrite" is s3:* on all resources.
func Predefined(name string) (doc string, ok bool) {
	switch name {
	case "readonly":
		return readOnly, true
	case "readwrite":
		return readWrite, true
	case "writeonly":
		return writeOnly, true
	}
	return "", false
}

// PredefinedNames returns their names, sorted.
func PredefinedNames() []string { return []string{"readonly", "readwrite", "writeonly"} }

const readOnly = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["s3:Get*", "s3:List*"],
      "Resource": "arn:aws:s3:::*"
    }
  ]
}`

const readWrite = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "s3:*",
      "Resource": "arn:aws:s3:::*"
    }
  ]
}`

const writeOnly = `{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": [
        "s3:AbortMultipartUpload",
        "s3:GetBucketLocation",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:PutObjectTagging"
      ],
      "Resource": "arn:aws:s3:::*"
    }
  ]
}`
