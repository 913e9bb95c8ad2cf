// Package audit records what was asked of the cluster and by whom, and delivers
// the records to a webhook: at least once, in order, from a bounded spool on disk.
// Of Sluice it uses only engine/seal.
//
// # Way of an event
//
// Record encodes the event into a queue in memory (8 MiB) and returns; it never
// waits. The writer gathers what is in the queue for at most the batch time
// (Batch.Linger), or until 256 KiB are there, writes it, encrypted, to the spool
// and syncs it. The sender reads synced events back and posts them, one batch at
// a time; a batch is acknowledged by any status 2xx, and only then the cursor
// moves on. Anything else (another status, a redirect, a timeout, a broken or
// refused connection) is tried again, after 250 ms doubling to 30 s, half of it
// random, for as long as it takes; after a timeout or a status 413 with half as
// many events.
//
// # What may be lost, and what may come twice
//
//   - A killed daemon or a power loss takes the events that had not been synced:
//     those of the last batch time (1 s by default) and of the write under way. An
//     event that was synced is delivered, whatever happens.
//   - At the bound of the spool (Batch.Spool), with a full queue, or when the spool
//     cannot be written, the newest events are dropped. They are counted, an alarm
//     is logged, at most once a minute, and as soon as there is room an event
//     audit:EventsLost takes their place and tells how many. The count survives a
//     kill up to the last write of the spool.
//   - Events of a damaged spool are told of in the same way.
//   - A batch that the endpoint took without being able to say so comes again. Every
//     event has a sequence number that rises by one; receivers drop those they have.
//     Only audit:Test and the notice of a damaged spool have none.
//   - Close writes what is in the queue to the spool; it is delivered after the next
//     Open. Disabling keeps the spool for the next endpoint; Discard empties it.
//
// # The events
//
// A POST has Content-Type application/json and, as Authorization, the token as it
// was configured. Its body has one JSON object per line (ModeLines; Splunk's
// /services/collector/raw takes these), is one array of them (ModeArray), or one
// object (ModeOff). The names of fields are those of WEKA's audit events ("Audit S3
// APIs" and "Example: How to use S3 audit events" in its documentation) and, for
// what WEKA does not show, of MinIO's. Fields that are empty are left out.
//
//	version            "1"
//	auditVersion       "1.weka": the shape of the event
//	deploymentid       GUID of the cluster
//	time               when the header of the request had been read; RFC 3339, UTC, to the nanosecond
//	event              always ""
//	trigger            "incoming" (S3), "admin" (admin socket) or "audit" (from this package)
//	api.name           S3's name of the operation; "admin:" and method and route at the admin
//	                   socket ("admin:PUT /v1/users/{name}/role"); audit:EventsLost; audit:Test
//	api.bucket         bucket
//	api.object         key; a part that is the signature of a pre-signed URL is cut off
//	api.objects        of DeleteObjects: objectName of each object, and error when it was not
//	                   deleted; a request of many makes several events
//	api.status         text of the HTTP status: "OK", "Forbidden"
//	api.statusCode     HTTP status
//	api.rx             bytes received for the request until its answer was ready, header included
//	api.tx             bytes of the answer's body: of a streamed one, as many as will be sent if the
//	                   client takes them all
//	api.timeToResponse from time until the answer was ready, nanoseconds and "ns"; the transfer of a
//	                   streamed body is not part of it
//	error              S3 error code, or code of the admin API
//	remotehost         address of the client, without port
//	requestID          x-amz-request-id of the answer
//	userAgent          User-Agent
//	requestPath        path as it came, without query
//	requestHost        Host
//	accessKey          access key that signed; absent from requests without a valid signature
//	parentUser         the user whose key it is; "uid:0" at the admin socket
//	requestQuery       parameters, decoded
//	requestHeader      headers, repeated ones joined by commas
//	responseHeader     headers of the answer
//	tags               session (role session), claimedAccessKey (of a request whose signature is
//	                   missing or wrong), uid, pid and the names in the body of an admin request;
//	                   lost, from, until and reason of audit:EventsLost
//	wekaInfo           clusterGUID, clusterName, release and version (of the daemon), serverName, serverIP
//	sequence           number of the event in this server's spool, from 1
//
// WEKA's example shows the beginning of the Authorization header; here it is
// masked. MinIO's timeToFirstByte is absent: an event is made before the first
// byte is sent.
//
// # Secrets
//
// The encoder masks by name (Secret): credentials, signatures, tokens, cookies,
// passwords, keys of SSE-C and their MD5s, wherever they stand and however they
// are spelled; and by form: URLs that hold one, "Bearer …", "Basic …". Bodies are
// never told, except for names picked out of an admin request. Each text is cut
// at 1 KiB (paths at 4 KiB); headers and parameters at 64 each.
//
// # Files
//
// See frame.go for the bytes of a segment, cursor.go for those of the cursor, and
// document in config.go for the configuration's. Frames are sealed: they hold
// names.
package audit
