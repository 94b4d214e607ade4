-- Asks rostergate whether a password is right: a token that the gateway has given the site for one of its pages or,
-- where its host there has an `auth_url`, a password of the site. README.md beside it says how to set it up.
--
-- The protocol is that of the community module mod_auth_http.

local async = require "util.async";
local base64 = require "util.encodings".base64.encode;
local http = require "net.http";
local new_sasl = require "util.sasl".new;

local host = module.host;
local url = module:get_option_string("rostergate_auth_url", "http://127.0.0.1:5290/xmpp_auth");
local token = module:get_option_string("rostergate_auth_token");
local headers = { Authorization = token and "Basic " .. base64("prosody:" .. token) };

-- Whether the gateway says so. A gateway that cannot be asked says nothing.
local function ask(what, parameters)
	parameters.server = host;
	local wait, done = async.waiter();
	local yes;
	http.request(url .. "/" .. what .. "?" .. http.formencode(parameters), { headers = headers }, function (body, code)
		yes = code == 200 and body == "true";
		if code ~= 200 and code ~= 401 and code ~= 404 then
			module:log("warn", "rostergate does not say who may log in, at %s: %s %s", url, tostring(code), tostring(body));
		end
		done();
	end);
	wait();
	return yes;
end

local provider = {};

function provider.test_password(username, password)
	return ask("check_password", { user = username, pass = password }) or nil, "Not right.";
end

function provider.user_exists(username)
	return ask("user_exists", { user = username }) or nil, "No such user.";
end

function provider.set_password() return nil, "Passwords are the site's."; end
function provider.create_user() return nil, "Accounts are the site's."; end
function provider.delete_user() return nil, "Accounts are the site's."; end
function provider.users() return function () end; end

-- Tokens come in plain text.
function provider.get_sasl_handler()
	return new_sasl(host, {
		plain_test = function (_, username, password)
			return provider.test_password(username, password), true;
		end;
	});
end

module:provides("auth", provider);
