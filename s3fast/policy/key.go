package policy

import (
	"errors"
	"strings"
)

// maxKey is the longest condition key in bytes; a tag's key has up to 128
// characters.
const maxKey = 600

// checkKey checks the name of a condition key and returns it as
// Context.Lookup gets it: in lower case up to a slash. See the package's
// documentation for what is accepted.
func checkKey(name string) (string, error) {
	base, tag, family := strings.Cut(name, "/")
	key := lower(base)
	if family && strings.IndexByte(base, '.') > 0 { // an OIDC provider's: "host/path:claim"
		key, family = key+"/"+tag, false
	}
	i := strings.LastIndexByte(key, ':')
	if i <= 0 || len(name) > maxKey {
		return "", errors.New(`invalid condition key: must be like "aws:SourceIp"`)
	}
	prefix, rest := key[:i], key[i+1:]
	if !made(prefix, "-._/:") || !made(rest, "-._") || family && !isTagKey(tag) {
		return "", errors.New(`invalid condition key: must be like "aws:SourceIp" or "s3:ExistingObjectTag/key"`)
	}
	known := false
	switch prefix {
	case "aws":
		known = isGlobalKey(rest, family)
	case "s3":
		known = isS3Key(rest, family)
	case "jwt", "sts", "svc", "ldap", "saml":
		known = true
	default:
		known = strings.IndexByte(prefix, '.') > 0
	}
	if !known {
		return "", errors.New("invalid condition key: not known")
	}
	if family {
		key += "/" + tag
	}
	return key, nil
}

func isTagKey(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// isGlobalKey tells the names of "AWS global condition context keys", and
// aws:groups, which MinIO's users know. family: with a tag's key after a slash.
func isGlobalKey(name string, family bool) bool {
	if family {
		switch name {
		case "principaltag", "requesttag", "resourcetag":
			return true
		}
		return false
	}
	switch name {
	case "principalarn", "principalaccount", "principalorgpaths", "principalorgid",
		"principalisawsservice", "principalservicename", "principalservicenameslist",
		"principaltype", "userid", "username", "groups",
		"assumedroot", "federatedprovider", "tokenissuetime", "multifactorauthage",
		"multifactorauthpresent", "chatbotsourcearn", "ec2instancesourcevpc",
		"ec2instancesourceprivateipv4", "sourceidentity",
		"sourceip", "sourcevpc", "sourcevpcarn", "sourcevpce", "vpceaccount", "vpceorgid",
		"vpceorgpaths", "vpcsourceip",
		"resourceaccount", "resourceorgid", "resourceorgpaths",
		"calledvia", "calledviafirst", "calledvialast", "viaawsservice",
		"currenttime", "epochtime", "referer", "requestedregion", "tagkeys",
		"securetransport", "sourceaccount", "sourcearn", "sourceowner", "sourceorgid",
		"sourceorgpaths", "useragent":
		return true
	}
	return false
}

// isS3Key tells the names of "Condition keys for Amazon S3" (Service
// Authorization Reference). Any x-amz- header may be named.
func isS3Key(name string, family bool) bool {
	if family {
		switch name {
		case "existingobjecttag", "requestobjecttag", "buckettag", "accesspointtag":
			return true
		}
		return false
	}
	switch name {
	case "authtype", "signatureage", "signatureversion", "tlsversion", "resourceaccount",
		"prefix", "delimiter", "max-keys", "versionid", "locationconstraint", "destinationregion",
		"requestobjecttagkeys", "if-match", "if-none-match", "objectcreationoperation",
		"object-lock-legal-hold", "object-lock-mode", "object-lock-remaining-retention-days",
		"object-lock-retain-until-date",
		"accessgrantsinstancearn", "accesspointnetworkorigin", "dataaccesspointaccount", "dataaccesspointarn",
		"inventoryaccessibleoptionalfields", "isreplicationpauserequest",
		"existingjoboperation", "existingjobpriority", "jobsuspendedcause", "requestjoboperation", "requestjobpriority":
		return true
	}
	return strings.HasPrefix(name, "x-amz-") && len(name) > len("x-amz-")
}

// sameKey compares a key's beginning as given by a caller with a normal one.
func sameKey(given, key string) bool {
	fold := true
	for i := 0; i < len(key); i++ {
		c := given[i]
		if fold {
			c = lowerByte(c)
		}
		if c != key[i] {
			return false
		}
		fold = fold && c != '/'
	}
	return true
}
