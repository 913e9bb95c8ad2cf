package s3xml

import (
	"time"
)

// STSNamespace is that of the documents of AWS STS (AWS STS API Reference, version
// 2011-06-15).
const STSNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// STSCredentials are temporary credentials.
type STSCredentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time // whole seconds
}

// AssumedRole answers AssumeRole and AssumeRoleWithWebIdentity.
type AssumedRole struct {
	Credentials      STSCredentials
	ARN, ID          string // of the session
	PackedPolicySize int    // percent of what is allowed; 0: omitted
	// Of AssumeRoleWithWebIdentity alone:
	Subject, Audience, Provider string
}

func stsRoot(dst []byte, name string) []byte {
	dst = append(dst, Header...)
	dst = append(dst, '<')
	dst = append(dst, name...)
	return append(dst, `Response xmlns="`+STSNamespace+`"><`...)
}

// stsEnd closes the result and the document.
func stsEnd(dst []byte, name, requestID string) []byte {
	dst = append(dst, "</"...)
	dst = append(dst, name...)
	dst = append(dst, "Result><ResponseMetadata>"...)
	dst = AppendElement(dst, "RequestId", requestID)
	dst = append(dst, "</ResponseMetadata></"...)
	dst = append(dst, name...)
	return append(dst, "Response>"...)
}

// AppendAssumedRole encodes the answer to action: "AssumeRole" or
// "AssumeRoleWithWebIdentity".
func AppendAssumedRole(dst []byte, action string, a *AssumedRole, requestID string) []byte {
	dst = stsRoot(dst, action)
	dst = append(dst, action...)
	dst = append(dst, "Result>"...)
	dst = optional(dst, "SubjectFromWebIdentityToken", a.Subject)
	dst = optional(dst, "Audience", a.Audience)
	dst = append(dst, "<AssumedRoleUser>"...)
	dst = AppendElement(dst, "Arn", a.ARN)
	dst = AppendElement(dst, "AssumedRoleId", a.ID)
	dst = append(dst, "</AssumedRoleUser><Credentials>"...)
	dst = AppendElement(dst, "AccessKeyId", a.Credentials.AccessKeyID)
	dst = AppendElement(dst, "SecretAccessKey", a.Credentials.SecretAccessKey)
	dst = AppendElement(dst, "SessionToken", a.Credentials.SessionToken)
	dst = append(dst, "<Expiration>"...)
	dst = a.Credentials.Expiration.UTC().AppendFormat(dst, "2006-01-02T15:04:05Z")
	dst = append(dst, "</Expiration></Credentials>"...)
	dst = optional(dst, "Provider", a.Provider)
	if a.PackedPolicySize > 0 {
		dst = integer(dst, "PackedPolicySize", int64(a.PackedPolicySize))
	}
	return stsEnd(dst, action, requestID)
}

// AppendCallerIdentity encodes the answer to GetCallerIdentity.
func AppendCallerIdentity(dst []byte, arn, userID, account, requestID string) []byte {
	const action = "GetCallerIdentity"
	dst = stsRoot(dst, action)
	dst = append(dst, action+"Result>"...)
	dst = AppendElement(dst, "Arn", arn)
	dst = AppendElement(dst, "UserId", userID)
	dst = AppendElement(dst, "Account", account)
	return stsEnd(dst, action, requestID)
}

// AppendSTSError encodes an error of STS; sender tells that the client is to
// blame.
func AppendSTSError(dst []byte, sender bool, code, message, requestID string) []byte {
	kind := "Receiver"
	if sender {
		kind = "Sender"
	}
	dst = append(dst, Header...)
	dst = append(dst, `<ErrorResponse xmlns="`+STSNamespace+`"><Error>`...)
	dst = AppendElement(dst, "Type", kind)
	dst = AppendElement(dst, "Code", code)
	dst = AppendElement(dst, "Message", message)
	dst = append(dst, "</Error>"...)
	dst = AppendElement(dst, "RequestId", requestID)
	return append(dst, "</ErrorResponse>"...)
}
