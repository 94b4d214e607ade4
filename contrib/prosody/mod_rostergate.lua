-- The contact lists of a host, as rostergate writes them: GET and PUT /rostergate/rosters/USER.
-- README.md beside it says how to set it up.
--
-- Users change nothing themselves. Presence flows between two users of the host while the lists of both say so.

local array = require "util.array";
local cache = require "util.cache";
local equals = require "util.hashes".equals;
local http = require "net.http";
local jid = require "util.jid";
local json = require "util.json";
local nodeprep = require "util.encodings".stringprep.nodeprep;
local rostermanager = require "core.rostermanager";
local st = require "util.stanza";
local user_exists = require "core.usermanager".user_exists;
local valid_utf8 = require "util.encodings".utf8.valid;

local host = module.host;
local bare_sessions = prosody.bare_sessions;

-- The value of an option, or the first line of the file that the option with `_file` names.
local function secret(name)
	local path = module:get_option_string(name.."_file");
	if not path then return module:get_option_string(name); end
	local file, err = io.open(path);
	local line = file and file:read("*l");
	if file then file:close(); end
	if not line then module:log("error", "%s_file cannot be read: %s", name, err or "it is empty"); end
	return line;
end

-- Presence

local function has_to(item)
	return item ~= nil and (item.subscription == "to" or item.subscription == "both");
end

local function has_from(item)
	return item ~= nil and (item.subscription == "from" or item.subscription == "both");
end

-- The list of somebody who is offline need not be read: nobody is there to see presence.
local WILLING = { subscription = "both" };

-- What the list of `owner` says of `contact`.
local function item_of(owner, contact)
	local user = bare_sessions[owner];
	if not user then return WILLING; end
	return user.roster and user.roster[contact];
end

-- The presence that is being shown, whatever the lists say by now.
local shown;

-- Shows a contact the presence of a user, or that the user has gone. mod_pep sees it too, and begins or stops to
-- notify.
local function show(user, contact, available)
	for _, session in pairs(bare_sessions[user] and bare_sessions[user].sessions or {}) do
		if session.presence then
			local presence = available and st.clone(session.presence) or st.presence({ type = "unavailable" });
			presence.attr.from, presence.attr.to = session.full_jid, contact;
			shown = presence;
			prosody.core_post_stanza(session, presence, true);
		end
	end
end

-- Shows both what has changed with the user's item of the contact. `new` is nil if it was removed.
local function exchange(username, roster, contact, old, new)
	local user = username.."@"..host;
	if jid.host(contact) == host then
		local peer = item_of(contact, user);
		local did_see, sees = has_from(old) and has_to(peer), has_from(new) and has_to(peer);
		if did_see ~= sees then show(user, contact, sees); end
		local was_seen, is_seen = has_to(old) and has_from(peer), has_to(new) and has_from(peer);
		if was_seen ~= is_seen then show(contact, user, is_seen); end
	elseif not new then
		-- mod_presence tells the other server.
		module:fire_event("roster-item-removed", {
			username = username, jid = contact, item = old, roster = roster, origin = prosody.hosts[host],
		});
	else
		if has_from(old) ~= has_from(new) then show(user, contact, has_from(new)); end
		if has_to(new) and not has_to(old) and bare_sessions[user] then
			module:send(st.presence({ type = "probe", from = user, to = contact }));
		end
	end
end

-- Prosody broadcasts by the sender's list alone.
module:hook("pre-presence/bare", function (event)
	local origin, stanza = event.origin, event.stanza;
	local contact, kind = stanza.attr.to, stanza.attr.type;
	if rawequal(stanza, shown) or kind and kind ~= "unavailable" then return; end
	if not contact or not origin.roster or jid.host(contact) ~= host then return; end
	local user = origin.username.."@"..host;
	if has_from(origin.roster[contact]) and not has_to(item_of(contact, user)) then return true; end
end, 10);

-- Changes by users

local REFUSAL = "The contact list is managed by the website";
local SUBSCRIPTION = { subscribe = true, subscribed = true, unsubscribe = true, unsubscribed = true };

module:hook("iq/self/jabber:iq:roster:query", function (event)
	local origin, stanza = event.origin, event.stanza;
	if stanza.attr.type ~= "set" then return; end
	origin.send(st.error_reply(stanza, "cancel", "not-allowed", REFUSAL));
	-- Some clients show the change all the same until they hear what is true.
	local item = stanza.tags[1]:get_child("item");
	local contact = item and jid.prep(item.attr.jid);
	if contact then rostermanager.roster_push(origin.username, host, contact); end
	return true;
end, 10);

local function refuse(event)
	local origin, stanza = event.origin, event.stanza;
	if origin.type ~= "c2s" or not SUBSCRIPTION[stanza.attr.type] then return; end
	-- At login, Prosody repeats old requests in the user's name, from the bare JID.
	if stanza.attr.from == origin.full_jid then
		origin.send(st.error_reply(stanza, "cancel", "not-allowed", REFUSAL));
	end
	return true;
end
module:hook("pre-presence/bare", refuse, 200);
module:hook("pre-presence/full", refuse, 200);
module:hook("pre-presence/host", refuse, 200);

-- Others must not change it either; Prosody itself would, when a contact does not know the user.
local function drop(event)
	if SUBSCRIPTION[event.stanza.attr.type] then return true; end
end
module:hook("presence/bare", drop, 200);
module:hook("presence/full", drop, 200);

-- Requests from before the site had the lists: Prosody would show them at each login, and nobody can answer them.
module:hook("presence/initial", function (event)
	event.origin.roster[false].pending = {};
end);

-- Reading what is to be written

local array_mt = getmetatable(array());
local SUBSCRIPTIONS = { none = true, to = true, from = true, both = true };

local function is_object(value)
	return type(value) == "table" and getmetatable(value) == nil;
end

local function is_array(value)
	return type(value) == "table" and getmetatable(value) == array_mt;
end

-- Text that XML can hold.
local function is_text(value)
	return type(value) == "string" and valid_utf8(value)
		and not value:find("[%z\1-\8\11\12\14-\31]") and not value:find("\239\191[\190\191]");
end

local function read_contact(text, user)
	local contact = is_text(text) and jid.prep(text);
	if not contact then return nil, "a contact is no JID"; end
	if jid.resource(contact) then return nil, "a resource: "..contact; end
	if contact == user then return nil, "the user's own JID: "..contact; end
	return contact;
end

local function read_item(data)
	if not is_object(data) then return nil, "no object"; end
	local item = { name = data.name, subscription = data.subscription, groups = {}, written = true };
	if item.name ~= nil and not is_text(item.name) then return nil, "bad name"; end
	if item.name == "" then item.name = nil; end
	if item.subscription == nil then item.subscription = "both"; end
	if not SUBSCRIPTIONS[item.subscription] then return nil, "bad subscription"; end
	local groups = data.groups;
	if groups == nil then return item; end
	if not is_array(groups) then return nil, "groups are no array"; end
	for _, group in ipairs(groups) do
		if not is_text(group) or group == "" then return nil, "bad group"; end
		item.groups[group] = true;
	end
	return item;
end

-- The pairs that a body says are open from now on, or no longer: true or false by contact.
local function read_pairs(request, user)
	local open = {};
	for key, is_open in pairs({ open = true, close = false }) do
		local contacts = request[key];
		if contacts == nil then contacts = array(); end
		if not is_array(contacts) then return nil, key.." is no array"; end
		for _, text in ipairs(contacts) do
			local contact, err = read_contact(text, user);
			if not contact then return nil, err; end
			open[contact] = is_open;
		end
	end
	return open;
end

-- The changes that a body asks for: the item by contact, false where it is to be removed; and the pairs.
local function read_changes(body, user)
	local is_json, request = pcall(json.decode, body);
	if not is_json or not is_object(request) then return nil, "the body is no JSON object"; end
	local contacts, remove = request.contacts, request.remove;
	if contacts == nil then contacts = {}; end
	if remove == nil then remove = array(); end
	if not is_object(contacts) then return nil, "contacts is no object"; end
	if not is_array(remove) then return nil, "remove is no array"; end
	local changes = {};
	local function add(text, item)
		local contact, err = read_contact(text, user);
		if not contact then return nil, err; end
		if changes[contact] ~= nil then return nil, "twice: "..contact; end
		changes[contact] = item;
		return true;
	end
	for text, data in pairs(contacts) do
		local item, err = read_item(data);
		if not item then return nil, err..": "..(is_text(text) and text or "a contact"); end
		local ok;
		ok, err = add(text, item);
		if not ok then return nil, err; end
	end
	for _, text in ipairs(remove) do
		local ok, err = add(text, false);
		if not ok then return nil, err; end
	end
	local open, err = read_pairs(request, user);
	if not open then return nil, err; end
	return changes, open;
end

-- Writing

local function is_same(a, b)
	if a.name ~= b.name or a.subscription ~= b.subscription or a.ask ~= b.ask then return false; end
	for group in pairs(a.groups) do if not b.groups[group] then return false; end end
	for group in pairs(b.groups) do if not a.groups[group] then return false; end end
	return true;
end

-- Tells the user's clients. Only the last push bears the new version: who is cut off before it asks for the whole list.
local function push(username, meta, old_version, contacts)
	local version = meta.version;
	for i, contact in ipairs(contacts) do
		meta.version = i < #contacts and old_version or version;
		rostermanager.roster_push(username, host, contact);
	end
end

-- The pairs that are open after these changes, and whether that is new.
local function open_pairs(now, changes)
	local open, is_new = {}, false;
	for contact in pairs(now or {}) do open[contact] = true; end
	for contact, is_open in pairs(changes) do
		is_new = is_new or is_open ~= (open[contact] or false);
		open[contact] = is_open or nil;
	end
	return next(open) and open, is_new;
end

-- Gives how many were written and removed, or nil if the list cannot be saved.
local function write(username, roster, changes, changed_pairs)
	local meta, old, pushed, written, removed = roster[false], {}, {}, 0, 0;
	for contact, item in pairs(changes) do
		local now = roster[contact];
		local is_new = item and not (now and is_same(now, item));
		if is_new or item and not now.written or not item and now then
			old[contact] = now or false;
			roster[contact] = item or nil;
			if is_new or not item then pushed[#pushed + 1] = contact; end
			if item then
				written = written + 1;
				meta.pending[contact] = nil;
			else
				removed = removed + 1;
			end
		end
	end
	local open = meta.rostergate_open;
	local now_open, is_new = open_pairs(open, changed_pairs);
	if not next(old) and not is_new then return 0, 0; end
	-- To clients, a list that was never saved has version 1. Pairs are nothing to them: saving adds one to this.
	local version = meta.version;
	if next(old) then meta.version = version or 1; elseif version ~= true then meta.version = (version or 1) - 1; end
	meta.rostergate_open = now_open or nil;
	if not rostermanager.save_roster(username, host, roster) then
		for contact, item in pairs(old) do roster[contact] = item or nil; end
		meta.version, meta.rostergate_open = version, open;
		return nil;
	end
	-- Clients see a contact go before it is removed, and come after it was added.
	for _, contact in ipairs(pushed) do
		if not roster[contact] then exchange(username, roster, contact, old[contact], nil); end
	end
	push(username, meta, version or 1, pushed);
	for _, contact in ipairs(pushed) do
		if roster[contact] then exchange(username, roster, contact, old[contact] or nil, roster[contact]); end
	end
	return written, removed;
end

-- HTTP

local function answer(status, content)
	return { status_code = status, headers = { content_type = "application/json" }, body = json.encode(content) };
end

local function get(_, _, roster)
	local contacts = {};
	for contact, item in pairs(roster) do
		if contact then
			local groups = array.collect(pairs(item.groups));
			contacts[contact] = {
				name = item.name, subscription = item.subscription, ask = item.ask, written = item.written,
				groups = groups[1] and groups,
			};
		end
	end
	local open = array.collect(pairs(roster[false].rostergate_open or {}));
	return answer(200, { contacts = contacts, open = open[1] and open });
end

-- Longest body, bytes. Prosody does nothing else while it is read; the gateway sends less at a time.
local MAX_BODY = 1024 * 1024;

local function put(request, username, roster)
	if #request.body > MAX_BODY then return answer(413, { error = "more than a megabyte" }); end
	local changes, open = read_changes(request.body, username.."@"..host);
	if not changes then return answer(400, { error = open }); end
	local written, removed = write(username, roster, changes, open);
	if not written then return answer(500, { error = "the list cannot be saved" }); end
	return answer(200, { written = written, removed = removed });
end

local function is_loopback(ip)
	return ip:find("^127%.%d+%.%d+%.%d+$") or ip == "::1" or ip:find("^::ffff:127%.%d+%.%d+%.%d+$");
end

-- The list of a user, if it can be read. Prosody keeps one that could not be read, as if it were empty, and never saves
-- it: it is forgotten, so that it is read anew. That of a user who is offline is read anew in any case: the account may
-- have been deleted, and made again.
local function load(username)
	local user, kept = username.."@"..host, prosody.hosts[host].roster_cache;
	local online = bare_sessions[user];
	if kept and not online then kept:set(user, nil); end
	for _ = 1, 2 do
		local roster, err = rostermanager.load_roster(username, host);
		if not err and not (roster[false] and roster[false].broken) then
			-- Sessions have it from the user.
			for _, session in pairs(online and online.sessions or {}) do
				if session.roster and session.roster ~= roster then session.roster = roster; end
			end
			return roster;
		end
		if kept then kept:set(user, nil); end
		if online then online.roster = nil; end -- luacheck: ignore 122
	end
end

local function guarded(token, handle)
	return function (event, name)
		local request = event.request;
		if not is_loopback(request.ip) then return answer(403, { error = "not from another machine" }); end
		if not equals(request.headers.authorization or "", "Bearer "..token) then
			return answer(401, { error = "not without the token" });
		end
		local username = nodeprep(name);
		if not username or username == "" or not user_exists(username, host) then
			return answer(404, { error = "no such user" });
		end
		local roster = load(username);
		if not roster then return answer(500, { error = "the list cannot be read" }); end
		return handle(request, username, roster);
	end;
end

local token = secret("rostergate_token");
if token and token ~= "" then
	module:depends("http");
	module:provides("http", {
		cors = { enabled = false };
		route = {
			["GET /rosters/*"] = guarded(token, get);
			["PUT /rosters/*"] = guarded(token, put);
		};
	});
else
	module:log("error", "no contact list can be written: set rostergate_token or rostergate_token_file");
end

-- Refreshes at login

-- Seconds in which a user's logins cause one refresh, and in which the gateway has to answer.
local REFRESH_INTERVAL, REFRESH_TIMEOUT = 30, 30;
-- Users in one request, and users who wait for the next.
local REFRESH_BATCH, REFRESH_WAITING = 100, 10000;

local function refresher(url)
	local refresh_token = secret("rostergate_refresh_token");
	local headers = { ["Content-Type"] = "application/json", ["Prefer"] = "respond-async" };
	if refresh_token then headers["Authorization"] = "Bearer "..refresh_token; end
	-- When each was asked for last.
	local asked = cache.new(REFRESH_WAITING);
	local waiting, is_asking = array(), false;

	local function ask()
		if is_asking or not waiting[1] then return; end
		is_asking = true;
		local users = array.slice(waiting, 1, REFRESH_BATCH);
		waiting = array.slice(waiting, REFRESH_BATCH + 1);
		local function finish(err)
			if not users then return; end
			if err then
				module:log("warn", "the gateway was asked in vain to refresh %s: %s", users:concat(" "), err);
				for _, user in ipairs(users) do asked:set(user, nil); end
			end
			users, is_asking = nil, false;
			ask();
		end
		local request = http.request(url, { body = json.encode(users), headers = headers }, function (body, code)
			if code ~= 200 and code ~= 202 then finish(code == 0 and body or "status "..code); else finish(); end
		end);
		module:add_timer(REFRESH_TIMEOUT, function ()
			if not users then return; end
			http.destroy_request(request);
			finish("no answer");
		end);
	end

	return function (event)
		local user, now = event.session.username.."@"..host, os.time();
		if now - (asked:get(user) or 0) < REFRESH_INTERVAL or #waiting >= REFRESH_WAITING then return; end
		asked:set(user, now);
		waiting:push(user);
		ask();
	end;
end

local refresh_url = module:get_option_string("rostergate_refresh_url");
if refresh_url then module:hook("resource-bind", refresher(refresh_url)); end
