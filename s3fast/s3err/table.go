package s3err

// The table. Codes, statuses and wording are those of Amazon S3 API Reference,
// "Error responses", and of the operations' own error lists. None is ever
// changed at run time.
var (
	// Authentication and authorization.

	AccessDenied                      = &Code{"AccessDenied", 403, "Access Denied"}
	AccountProblem                    = &Code{"AccountProblem", 403, "There is a problem with your AWS account that prevents the operation from completing successfully."}
	AllAccessDisabled                 = &Code{"AllAccessDisabled", 403, "All access to this Amazon S3 resource has been disabled."}
	AuthorizationHeaderMalformed      = &Code{"AuthorizationHeaderMalformed", 400, "The authorization header you provided is invalid."}
	AuthorizationQueryParametersError = &Code{"AuthorizationQueryParametersError", 400, "The authorization query parameters that you provided are not valid."}
	CredentialsNotSupported           = &Code{"CredentialsNotSupported", 400, "This request does not support credentials."}
	ExpiredToken                      = &Code{"ExpiredToken", 400, "The provided token has expired."}
	InvalidAccessKeyID                = &Code{"InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."}
	InvalidSecurity                   = &Code{"InvalidSecurity", 403, "The provided security credentials are not valid."}
	InvalidToken                      = &Code{"InvalidToken", 400, "The provided token is malformed or otherwise invalid."}
	MissingSecurityHeader             = &Code{"MissingSecurityHeader", 400, "Your request is missing a required header."}
	NotSignedUp                       = &Code{"NotSignedUp", 403, "Your account is not signed up for the Amazon S3 service."}
	RequestTimeTooSkewed              = &Code{"RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large."}
	SignatureDoesNotMatch             = &Code{"SignatureDoesNotMatch", 403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	TokenRefreshRequired              = &Code{"TokenRefreshRequired", 400, "The provided token must be refreshed."}

	// Buckets, objects, uploads.

	BucketAlreadyExists           = &Code{"BucketAlreadyExists", 409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."}
	BucketAlreadyOwnedByYou       = &Code{"BucketAlreadyOwnedByYou", 409, "Your previous request to create the named bucket succeeded and you already own it."}
	BucketNotEmpty                = &Code{"BucketNotEmpty", 409, "The bucket you tried to delete is not empty"}
	ConditionalRequestConflict    = &Code{"ConditionalRequestConflict", 409, "The conditional request cannot succeed due to a conflicting operation against this resource."}
	IllegalLocationConstraint     = &Code{"IllegalLocationConstraintException", 400, "The specified location constraint is incompatible for the region specific endpoint this request was sent to."}
	InvalidBucketACLWithOwnership = &Code{"InvalidBucketAclWithObjectOwnership", 400, "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"}
	InvalidBucketName             = &Code{"InvalidBucketName", 400, "The specified bucket is not valid."}
	InvalidBucketState            = &Code{"InvalidBucketState", 409, "The request is not valid with the current state of the bucket."}
	InvalidLocationConstraint     = &Code{"InvalidLocationConstraint", 400, "The specified location-constraint is not valid"}
	InvalidObjectState            = &Code{"InvalidObjectState", 403, "The operation is not valid for the object's storage class"}
	InvalidPart                   = &Code{"InvalidPart", 400, "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."}
	InvalidPartNumber             = &Code{"InvalidPartNumber", 416, "The requested partnumber is not satisfiable"}
	InvalidPartOrder              = &Code{"InvalidPartOrder", 400, "The list of parts was not in ascending order. Parts must be ordered by part number."}
	InvalidRange                  = &Code{"InvalidRange", 416, "The requested range is not satisfiable"}
	InvalidStorageClass           = &Code{"InvalidStorageClass", 400, "The storage class you specified is not valid"}
	KeyTooLong                    = &Code{"KeyTooLongError", 400, "Your key is too long"}
	MethodNotAllowed              = &Code{"MethodNotAllowed", 405, "The specified method is not allowed against this resource."}
	NoSuchBucket                  = &Code{"NoSuchBucket", 404, "The specified bucket does not exist"}
	NoSuchKey                     = &Code{"NoSuchKey", 404, "The specified key does not exist."}
	NoSuchUpload                  = &Code{"NoSuchUpload", 404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	NoSuchVersion                 = &Code{"NoSuchVersion", 404, "The specified version does not exist."}
	NotModified                   = &Code{"NotModified", 304, "Not Modified"}
	OperationAborted              = &Code{"OperationAborted", 409, "A conflicting conditional operation is currently in progress against this resource. Try again."}
	PreconditionFailed            = &Code{"PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"}
	TooManyBuckets                = &Code{"TooManyBuckets", 400, "You have attempted to create more buckets than allowed"}

	// Requests and bodies.

	BadDigest                           = &Code{"BadDigest", 400, "The Content-MD5 you specified did not match what we received."}
	BadRequest                          = &Code{"BadRequest", 400, "Bad Request"}
	EntityTooLarge                      = &Code{"EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size"}
	EntityTooSmall                      = &Code{"EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size"}
	IncompleteBody                      = &Code{"IncompleteBody", 400, "You did not provide the number of bytes specified by the Content-Length HTTP header"}
	IncorrectNumberOfFilesInPostRequest = &Code{"IncorrectNumberOfFilesInPostRequest", 400, "POST requires exactly one file upload per request."}
	InvalidArgument                     = &Code{"InvalidArgument", 400, "Invalid Argument"}
	InvalidChunkSize                    = &Code{"InvalidChunkSizeError", 403, "Only the last chunk is allowed to have a size less than 8192 bytes"}
	InvalidDigest                       = &Code{"InvalidDigest", 400, "The Content-MD5 you specified was invalid."}
	InvalidEncryptionAlgorithm          = &Code{"InvalidEncryptionAlgorithmError", 400, "The encryption request that you specified is not valid. The valid value is AES256."}
	InvalidPolicyDocument               = &Code{"InvalidPolicyDocument", 400, "The content of the form does not meet the conditions specified in the policy document."}
	InvalidRequest                      = &Code{"InvalidRequest", 400, "Invalid Request"}
	InvalidTag                          = &Code{"InvalidTag", 400, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation."}
	InvalidTargetBucket                 = &Code{"InvalidTargetBucketForLogging", 400, "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group."}
	InvalidURI                          = &Code{"InvalidURI", 400, "Couldn't parse the specified URI."}
	MalformedACL                        = &Code{"MalformedACLError", 400, "The XML you provided was not well-formed or did not validate against our published schema"}
	MalformedPOSTRequest                = &Code{"MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data."}
	MalformedPolicy                     = &Code{"MalformedPolicy", 400, "Policies must be valid JSON and the first byte must be '{'"}
	MalformedTrailer                    = &Code{"MalformedTrailerError", 400, "The request contained trailing data that was not well-formed or did not conform to our published schema."}
	MalformedXML                        = &Code{"MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema"}
	MaxPostPreDataLengthExceeded        = &Code{"MaxPostPreDataLengthExceededError", 400, "Your POST request fields preceding the upload file were too large."}
	UserKeyMustBeSpecified              = &Code{"UserKeyMustBeSpecified", 400, "The bucket POST must contain the specified field name. If it is specified, check the order of the fields."}
	MaxMessageLengthExceeded            = &Code{"MaxMessageLengthExceeded", 400, "Your request was too big."}
	MetadataTooLarge                    = &Code{"MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size"}
	MissingContentLength                = &Code{"MissingContentLength", 411, "You must provide the Content-Length HTTP header."}
	MissingRequestBody                  = &Code{"MissingRequestBodyError", 400, "Request Body is empty"}
	NotImplemented                      = &Code{"NotImplemented", 501, "A header you provided implies functionality that is not implemented"}
	RequestHeaderSectionTooLarge        = &Code{"RequestHeaderSectionTooLarge", 400, "Your request header section exceeds the maximum allowed size."}
	RequestTimeout                      = &Code{"RequestTimeout", 400, "Your socket connection to the server was not read from or written to within the timeout period."}
	UnexpectedContent                   = &Code{"UnexpectedContent", 400, "This request does not support content"}
	UnsupportedArgument                 = &Code{"UnsupportedArgument", 400, "The request contained an unsupported argument."}
	UnsupportedOperation                = &Code{"UnsupportedOperation", 400, "The specified operation is not supported."}
	UnsupportedSignature                = &Code{"UnsupportedSignature", 400, "The provided request is signed with an unsupported STS Token version or the signature version is not supported."}
	XAmzContentSHA256Mismatch           = &Code{"XAmzContentSHA256Mismatch", 400, "The provided 'x-amz-content-sha256' header does not match what was computed."}

	// Bucket and object settings that are not there.

	NoSuchBucketPolicy                 = &Code{"NoSuchBucketPolicy", 404, "The bucket policy does not exist"}
	NoSuchCORSConfiguration            = &Code{"NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"}
	NoSuchLifecycleConfiguration       = &Code{"NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"}
	NoSuchObjectLockConfiguration      = &Code{"NoSuchObjectLockConfiguration", 404, "The specified object does not have an ObjectLock configuration"}
	NoSuchPublicAccessBlock            = &Code{"NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found"}
	NoSuchTagSet                       = &Code{"NoSuchTagSet", 404, "The TagSet does not exist"}
	NoSuchWebsiteConfiguration         = &Code{"NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration"}
	ObjectLockConfigurationNotFound    = &Code{"ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"}
	OwnershipControlsNotFound          = &Code{"OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"}
	ReplicationConfigurationNotFound   = &Code{"ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found"}
	NoSuchConfiguration                = &Code{"NoSuchConfiguration", 404, "The specified configuration does not exist."}
	EncryptionConfigurationNotFound    = &Code{"ServerSideEncryptionConfigurationNotFoundError", 404, "The server side encryption configuration was not found"}
	AccessControlListNotSupported      = &Code{"AccessControlListNotSupported", 400, "The bucket does not allow ACLs"}
	MetadataConfigurationNotFoundError = &Code{"MetadataConfigurationNotFound", 404, "The metadata configuration was not found"}

	// Of key management, as S3 passes it on (AWS KMS API Reference, Decrypt).

	KMSNotFound = &Code{"KMS.NotFoundException", 400, "The key that encrypts the object does not exist."}

	// The server's own state. InsufficientStorage is not an S3 code: S3 never
	// fills up. Clients treat it as a failure that a retry will not cure.

	InsufficientStorage = &Code{"InsufficientStorage", 507, "The storage has reached its minimum free space threshold. Delete objects or add drives."}
	InternalError       = &Code{"InternalError", 500, "We encountered an internal error. Please try again."}
	ServiceUnavailable  = &Code{"ServiceUnavailable", 503, "Service is unable to handle request."}
	SlowDown            = &Code{"SlowDown", 503, "Please reduce your request rate."}
)
