"""What can stop a command, by exit code: the words as they are said, and what to do about them.

Words only. `…` stands for what differs from case to case: a name, a number, the system's own words.
tests/test_errorpage.py reads the program and holds that each error it can raise is here, and that
it says each of these.
"""

from __future__ import annotations

from typing import Final

from backfill.errors import ExitCode

Chapter = dict[str, str]
"""What is said → what to do."""

OPTIONS: Final[Chapter] = {
    "there is no row …": "of `preview --row`: the fix says which row is the last",
    "Error: …": "`backfill COMMAND --help` shows the options, with an example",
    "--source goes with one mapping": "run the mappings one by one",
    "--restart sends all rows again": "add `--yes` where nobody can be asked",
}
MAPPINGS: Final[Chapter] = {
    "there is no such mapping file": "correct the path; a near name is suggested",
    "there is no mapping in this folder": "put a `.yaml` file there, or name another folder",
    "this is a folder": "name a mapping file",
    "this is data, no mapping": "`backfill init FILE` writes a mapping for it",
    "a mapping over 1 MiB is refused": "split it into several; a folder of them runs as one",
    "this is not UTF-8 text, so no mapping": "save the file as plain UTF-8 text",
    "cannot be read: …": "check the path and the rights to read it",
}
FILES: Final[Chapter] = {
    "there is no such file": "correct the path; it is relative to the mapping's folder",
    "there is no data file in this folder": "put CSV, Parquet or JSON lines there, or name another",
    "no file matches": "correct the pattern, or wait for the files",
    "the source mixes formats": "one mapping reads one format: name the files, or a pattern",
    "the ending does not tell the format": "say `source: {format: csv}`, or parquet, or jsonl",
    "the file is empty": "check the export",
    "the file is UTF-16": "say `source: {csv: {encoding: utf-16}}`",
    "the header is not UTF-8": "name the file's encoding: `source: {csv: {encoding: latin-1}}`",
    "the names in the header hold NUL characters": "it may be UTF-16 without a mark: say"
    " `utf-16-le` or `utf-16-be` as `encoding:`",
    "the header is longer than … bytes, or it has an open quote": "check that it is a CSV, with its"
    " header first",
    "a quote in the header is never closed": "close it, or say which `quote:` the file has",
    "two columns are named '…'": "rename one, or name all columns under `header:`",
    "cannot be read as CSV…: …": "look at the row that is named, or check the export",
    "cannot be read as Parquet…: …": "check the export with another tool; write it without"
    " encryption",
    "its rows have … bytes each, more than …": "write it without its largest column, which no"
    " message could hold",
}
STORES: Final[Chapter] = {
    "…: files are read from this machine and from s3://, gs:// and az://": "download the file, or"
    " copy it to one of them",
    "credentials do not belong in a mapping": "take them out of the address; they come from the"
    " environment, see [files.md](files.md)",
    "the address names no …": "write the bucket or container: `s3://bucket/path`",
    "this cannot be the name of a …": "correct the name of the bucket or container",
    "the … has a wildcard; only the path behind it may": "name the buckets one by one",
    "the path '…' has an empty part, '.' or '..' between its slashes": "write one slash between its"
    " parts",
    "…:// has no option '…'": "take the one that is suggested",
    "'…' has a value that it cannot have": "write it as the fix shows",
    "the address names no storage account": "add `?account_name=…`, or set"
    " `AZURE_STORAGE_ACCOUNT_NAME`",
    "there is no such …": "correct the name of the bucket or container, or the endpoint",
}
"""Stores answer in words of their own; what these mean is in `backfill.source.trouble`."""

KEYS: Final[Chapter] = {
    "there is no write key": "set `CUSTOMERIO_WRITE_KEY`, or give `--write-key-file`; `--to"
    " sandbox` needs none",
    "this is no write key": "it is one line of letters and digits, from the workspace's settings",
    "the write key cannot be read: …": "check `--write-key-file`",
    "the keyring cannot be read: …": "unlock it, or set `CUSTOMERIO_WRITE_KEY`",
    "'…' is no destination": "write `--to us`, `eu`, `sandbox` or an address as"
    " `https://cdp.customer.io`",
    "an address with a password is refused": "take it out; the key is the only credential",
    "http:// would send the key in the clear": "use https://; http:// is for this machine only",
    "the proxy of the environment cannot be used": "write `HTTPS_PROXY` as `http://HOST:PORT`, or"
    " name the destination in `NO_PROXY`",
}
FOLDERS: Final[Chapter] = {
    "the state folder cannot be made: …": "choose another with `--state`",
    "the state folder cannot be written: …": "make room there, or correct its permissions; once a"
    " stream has a state in it, another `--state` would send all again",
    "others may use this, and that cannot be changed: …": "choose another folder with `--state`",
    "this is a symbolic link, nothing is written to it": "remove it, or move what it points to into"
    " its place",
}
RETRY: Final[Chapter] = {
    "this stream has not run, so there is nothing to send again": "`backfill run` it first",
    "the run is not finished; its rejects are not complete": "`backfill run` goes on with it; then"
    " retry",
    "the column … is missing: it says which row of the source each is": "put it back as the run"
    " wrote it",
    "_row '…' is no row of the source": "leave `_row` and `_file` as the run wrote them",
    "_file '…' is no file of the source": "leave `_row` and `_file` as the run wrote them",
    "the dead letters cannot be copied: …": "make room in the state folder, and retry",
}
INIT: Final[Chapter] = {
    "this mapping is there already": "choose another file with `-o`, or move this one away: it is"
    " never overwritten",
    "two of the files would have this mapping": "propose them one by one, with `-o`",
    "several mappings cannot be one file": "name a folder with `-o`, such as `mappings/`",
    "a mapping ends in .yaml": "write `-o NAME.yaml`",
    "cannot be written: …": "choose another place with `-o`",
    "this is a mapping, no data": "name the files of data; `backfill check` says what a mapping"
    " does",
    "this is …, not CSV": "unpack or export it as the fix says",
    "this is neither CSV nor Parquet nor JSON lines": "export it as one of these;"
    " [moving/](moving/README.md) has commands for zip, Avro and JSON arrays",
    "this is one JSON array, not one object a line": "make lines of it: `jq -c '.[]'`",
    "this is JSON over several lines": "make lines of it: `jq -c .`",
    "there are no rows to look at": "check the export",
    "no row has as many cells as the header": "check the export",
    "its columns are others than those of …": "name the files one by one",
    "no column can name a person or an object": "add a column of ids to the export",
    "no two columns name the id to keep and the old one": "name them `userId` and `old_userId`, or"
    " propose another `--type`",
    "'…': …": "the column's times prove no order of day and month: say `--day-first` or"
    " `--month-first`",
}
SANDBOX: Final[Chapter] = {
    "no sandbox has run here": "run something with `--to sandbox` first, or give `--db`",
    "there is no such sandbox file": "give the file that a sandbox wrote, with `--db`",
    "no usable SQLite file: …": "name another file, or remove this one",
    "is not the file of a sandbox of this version": "name another file, or remove this one",
    "cannot be opened for writing: …": "name a file in a folder that you may write to",
    "cannot listen: …": "end what listens there, or give another `--port` (0: a free one)",
    "the sandbox did not start": "try another `--port`",
    "… takes …": "for example `show person 1`, `show object 1 acme`, `show stats`",
    "nothing is known of it": "check the id",
    "unknown kind '…'": "of `--faults`: a status from 400 to 599, reset or slow",
    "'…' stands twice": "of `--faults`: name each kind once",
    "'…' is no probability": "of `--faults`: a number from 0 to 1 after the colon",
    "the probabilities add up to more than 1": "of `--faults`: lower them",
}
OWN: Final[Chapter] = {
    "backfill failed: … at …": "run again with `-v` and report it; the state is saved",
    "the books do not balance: …": "report it with the run's `log.jsonl`: rows read and rows"
    " settled differ",
    "encoding failed: …": "please report it",
    "a sender failed: …": "report it; the same command goes on",
    "cannot be written: …": "of stdout: what was done is saved; `backfill status` tells it",
}
LATER: Final[Chapter] = {
    "nothing was delivered for … s (…)": "run the same command later; `--max-outage` sets the"
    " patience",
    "the destination asks to wait … s (…)": "run the same command after that time",
    "the state cannot be saved: …": "make room, or mend the disk; the same command goes on",
    "the file … while it was being read": "let the export come to rest, then run the same command:"
    " it says what it finds changed",
    "… while it was being read": "correct what the store says, then run the same command",
    "the process that encodes …, as happens when memory runs out": "give it memory, or see what"
    " killed it; the same command goes on",
    "no answer: …": "of `ping`: check the network and the address",
    "it is busy: answered …": "of `ping`: ask again later",
}
TOO_MANY: Final[Chapter] = {
    "the first … batches were refused entirely: the mapping is wrong": "read the reasons in"
    " `rejects.csv`, correct the mapping, then `--restart`",
    "… rows are rejected, more than --max-rejects …": "read the reasons in the file that is named;"
    " the same command with a higher limit goes on",
}
HELD: Final[Chapter] = {
    "another run holds this stream…": "wait for it to end; the lock is released even when it is"
    " killed",
}
REFUSED: Final[Chapter] = {
    "refused the key (…: …)": "check the write key and its region (`--to us` or `eu`)",
    "the key is of the region …": "use `--to` with that region",
    "answered …: …": "check the address given with `--to`, and proxies on the way",
    "answered 200 with a page that is not the API's": "a proxy or a login page answers: check the"
    " address and the proxies on the way",
    "answered 400: …": "leave `--gzip` away: the destination does not take it",
    "the connection cannot be trusted: …": "check the address and proxies; where a company's proxy"
    " signs with its own certificate, name that in `REQUESTS_CA_BUNDLE`",
    "refused: answered … …": "of `ping`: check the write key and its region",
}
STATES: Final[Chapter] = {
    "the checkpoint is damaged: …": "`--use-previous` goes on from the state before it;"
    " `--restart` sends all again",
    "the checkpoint has format …, this version reads …": "use the backfill that wrote it",
    "there is no previous state": "run without `--use-previous`",
    "the list of delivered files is damaged: …": "put it back as the run left it, or `--restart`",
    "what is known of the rows delivered before is damaged: …": "put it back as the run left it, or"
    " `--restart`",
    "the file has … bytes, the checkpoint knows of …": "put the rejects file back as the run left"
    " it (a copy is for edits), or `--restart`",
}
OTHERS: Final[Chapter] = {
    "the run is not finished, and its source has changed: …": "put the source back and run again to"
    " resume, or `--restart` to send all again",
    "the run is not finished, and the meaning of its mapping has changed": "put the mapping back"
    " and run again to resume, or `--restart` to send all again",
    "the source has changed since the run that finished (…), and without key: in the mapping every"
    " row would get another message id: rows that were delivered would be doubled": "`--restart` to"
    " send all rows as new messages, or put the new rows in a file of their own",
    "the source has changed since the run that finished, and so has what the mapping makes message"
    " ids of: rows that were delivered would be doubled": "`--restart` to send all rows as new"
    " messages, or put the new rows in a file of their own",
    "the watermark of this stream is of '…' (…), not of '…' (…): what is later cannot be"
    " told": "put the mapping back, or `--restart`",
    "this state is of a run to …, not to …": "give the other destination a `--state` of its own, or"
    " `--restart` to forget this one",
    "these rows are of a run to …, not to …": "`retry` with `--to` that destination",
}
SIGNALS: Final[Chapter] = {
    "stopped by a signal; all is saved": "run the same command again",
    "stopped by a signal before anything was sent": "run the same command again",
    "stopped": "nothing was done: a question was answered with no, or Ctrl-C came before the start",
}

SITUATIONS: Final[dict[ExitCode, dict[str, Chapter]]] = {
    ExitCode.FAULT: {"": OWN},
    ExitCode.USAGE: {
        "The command line": OPTIONS,
        "The mapping file (what is wrong inside: [faults of a mapping](#faults-of-a-mapping))": (
            MAPPINGS
        ),
        "The files of the source": FILES,
        "Files in a store": STORES,
        "The key and the destination": KEYS,
        "The state folder": FOLDERS,
        "`retry`": RETRY,
        "`init`": INIT,
        "`sandbox`": SANDBOX,
    },
    ExitCode.RESUMABLE: {"": LATER},
    ExitCode.STOPPED: {"": TOO_MANY},
    ExitCode.LOCKED: {"": HELD},
    ExitCode.REFUSED: {"": REFUSED},
    ExitCode.MISMATCH: {"The state is damaged": STATES, "The state is of something else": OTHERS},
    ExitCode.SIGINT: {"": SIGNALS},
}
