package web

import (
	"strings"

	"cratelog/internal/web"
)

// route is an address of the server, with what the documents of the API say about it.
type route struct {
	pattern string
	handler func(q *request) error
	params  string // that it takes
	answers []operation
}

// operation is one address that a route answers, as the API's documents name it.
type operation struct {
	path  string // "" for the pattern's
	about string
	// value is of the type whose JSON is answered, or a string: the media type of what is not JSON.
	value any
}

const page_ = "text/html"

// at describes the one address of a route.
func at(about string, value any) []operation { return []operation{{"", about, value}} }

// twins describes a page and its JSON.
func twins(path, json, about string, value any) []operation {
	return []operation{{path, about + ", as a page", page_}, {json, about, value}}
}

// routes are all addresses that are asked with GET and parameters.
func (s *Server) routeTable() []route {
	const lists = "order limit cursor "
	return []route{
		{"GET /v1/entries", s.apiEntries, lists + entryFilters, at("Entries, chosen by the parameters; all that are given must hold.", entryList{})},
		{"GET /v1/entries/{key}", s.apiEntry, "log", at("One entry, by its index or leaf hash, with its bytes, inclusion proof and findings.", entryDetail{})},
		{"GET /v1/crates/{name}", s.apiCrate, "log " + lists, at("The history of one crate.", crateJSON{})},
		{"GET /v1/lookup/{name}/{version}", s.lookup, "log registry", at("Which checksum a version has in a log, or that it has none, with the proof: as the log's own address of that name.", "text/plain")},
		{"GET /v1/checkpoints", s.apiCheckpoints, "log size verdict " + lists, at("Every checkpoint that a log signed and this monitor saw.", checkpointList{})},
		{"GET /v1/findings", s.apiFindings, findingFilters, at("What this monitor found.", findingList{})},
		{"GET /v1/statistics", s.apiStatistics, "log", at("The numbers of each log.", statisticsList{})},
		{"GET /v1/logs", s.apiLogs, "log", at("Each log: state, sizes, rebuilt root, newest checkpoint, witnesses, programs, growth.", logList{})},
		{"GET /v1/witnesses", s.apiWitnesses, "log", at("Each witness of the trust files.", witnessList{})},
		{"GET /v1/export.csv", s.exportCSV, entryFilters, at("All entries, or those that the parameters choose, as a stream.", "text/csv")},
		{"GET /v1/export.ndjson", s.exportNDJSON, entryFilters, at("The same, one JSON object a line.", "application/x-ndjson")},
		{"GET /{$}", s.overview, "", []operation{{"/", "Overview, as a page", page_}}},
		{"GET /index.json", s.overview, "", at("Overview: how each log is, the newest findings and entries.", overviewJSON{})},
		{"GET /log", s.logPage, "log claim development cursor", at("One log, with its entries and checkpoints, as a page", page_)},
		{"GET /log.json", s.logPage, "log claim development cursor", at("One log, with its entries and checkpoints.", logDetail{})},
		{"GET /search", s.search, "q", at("Search, as a page", page_)},
		{"GET /search.json", s.search, "q", at("What a crate's name, NAME VERSION, a hash or 7 digits of it, a repository or an index leads to.", searchJSON{})},
		{"GET /c/{name}", s.crate, "log " + lists, append(twins("/c/{name}", "/c/{name}.json", "One crate's entries", crateJSON{}),
			operation{"/c/{name}.atom", "The feed of new entries about a crate; it takes no parameters", "application/atom+xml"})},
		{"GET /c/{name}/compare", s.compare, "from to", at("Two versions of a crate beside each other, as a page", page_)},
		{"GET /c/{name}/compare.json", s.compare, "from to", at("Two versions of a crate beside each other.", compareJSON{})},
		{"GET /c/{name}/{version}", s.version, "", twins("/c/{name}/{version}", "/c/{name}/{version}.json", "Every entry about a version", versionJSON{})},
		{"GET /c/{name}/{version}/{$}", s.version, "", nil}, // of versions that end in .json
		{"GET /e/{key}", s.entry, "log", append(twins("/e/{key}", "/e/{key}.json", "One entry, as /v1/entries/{key}", entryDetail{}),
			operation{"/e/{key}.entry", "The entry's bytes", "application/octet-stream"},
			operation{"/e/{key}.tlog-proof", "Its bundle (c2sp.org/tlog-proof), verified before it is served", "text/plain"})},
		{"GET /e/{key}/verify", s.verify, "log", at("Check an entry in the reader's browser, as a page", page_)},
		{"GET /cp/{key}", s.checkpoint, "log root", append(twins("/cp/{key}", "/cp/{key}.json", "The checkpoints of a size; more than one is a fork", checkpointDetail{}),
			operation{"/cp/{key}.checkpoint", "The signed note", "text/plain"})},
		{"GET /evidence", s.findings, findingFilters, at("Findings, as a page", page_)},
		{"GET /evidence.json", s.findings, findingFilters, at("Findings but information, the newest first, and information counted by kind.", findingList{})},
		{"GET /evidence/{key}", s.evidence, "", append(twins("/evidence/{key}", "/evidence/{key}.json", "One evidence file, by its SHA-256", evidenceDetail{}),
			operation{"/evidence/{key}.evidence", "The file itself", "application/octet-stream"})},
		{"GET /feed.atom", s.feed, "class prefix", at("The feed of findings but information, or of one class; with prefix of entries and findings about crates whose names begin so.",
			"application/atom+xml")},
		{"GET /watch", s.watch, "prefix", at("How to be told of new entries and findings, as a page", page_)},
		{"GET /watch.json", s.watch, "prefix", at("How to be told of new entries and findings.", watchJSON{})},
		{"GET /unsubscribe/{token}", s.unsubscribePage, "", at("What ends a subscription, as a page", page_)},
		{"GET /badge/{name}", s.badge, "registry", []operation{{"/badge/{name}.svg", "A badge: the newest version that is logged, and whether it is proven", "image/svg+xml"}}},
		{"GET /about", s.about, "", at("Who runs this monitor, and what its words mean, as a page", page_)},
		{"GET /about.json", s.about, "", at("Who runs this monitor, and what its words mean.", aboutJSON{})},
		{"GET /api", s.apiPage, "", at("This API, as a page", page_)},
		{"GET /openapi.json", s.apiPage, "", at("This document.", openAPI{})},
		{"GET /robots.txt", s.robots, "", at("What crawlers may read", "text/plain")},
	}
}

// posts are the addresses that take something. Their handlers bound what they read.
func (s *Server) posts() []web.Route {
	return []web.Route{
		{Pattern: "POST /v1/gossip", Handler: s.gossip},
		{Pattern: "POST /watch", Handler: s.subscribe},
		{Pattern: "POST /unsubscribe/{token}", Handler: s.unsubscribe},
	}
}

// path is the address of a pattern, as the API's documents write it.
func (r route) path() string {
	_, path, _ := strings.Cut(r.pattern, " ")
	return strings.TrimSuffix(path, "{$}")
}
