// Package metadata reads what the FIDO Metadata Service says about models of authenticators: which certificates sign for
// a model, and what became known of it since (FIDO Metadata Service v3.1.1).
//
// # Idea
//
// The service publishes one signed document, the BLOB. A [Holder] fetches it in the background, from a file or a URL,
// and keeps what it says in a [Snapshot], which never changes: a newer BLOB takes its place in one step, so whoever
// asked for the snapshot sees one BLOB from beginning to end. Nobody waits for the network: as long as there is no
// BLOB, there is no snapshot, and nothing is trusted.
//
// # What it guarantees
//
// A snapshot was signed by a certificate that chains to the pinned root, and with the FIDO Alliance's own root by the
// certificate of their service. It replaces none with a higher number. It is in force until [Grace] after the day on
// which it said that there would be another. A model is trusted only by an entry for exactly its AAGUID, of which
// everything could be read, in which no report in effect tells of a compromise. Whether its certificates have to name it is
// told by all entries, whatever can be read of them.
//
// # What an attacker can and cannot do
//
// Until its signature is verified, a BLOB is hostile: it is bounded, and of it only the header is read. In particular no
// address in it is ever fetched; certificates name some, for revocation, and whoever forges a BLOB chooses them. So a
// revoked certificate of the signer is not noticed before it expires. Who controls the network or the file can keep a
// newer BLOB from us for as long as the one in force lasts, and put an older one in its place only while there is none
// to compare it with: after a restart that finds no cache.
package metadata
