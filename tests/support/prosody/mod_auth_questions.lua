-- Authentication provider of the tests: asks about each password over HTTP, in the protocol of mod_auth_http.
--
-- `questions_folder` has a file for each user with the URL to ask at, so that tests can share a server. Without such a
-- file it asks at `questions_url`. A second line of the file, or `questions_credentials`, is `user:password` for Basic.

local async = require "util.async";
local base64 = require "util.encodings".base64.encode;
local http = require "net.http";
local new_sasl = require "util.sasl".new;

local host = module.host;
local folder = module:get_option_string("questions_folder");
local usual = module:get_option_string("questions_url");
local usual_credentials = module:get_option_string("questions_credentials");

local function place(user)
	local file = folder and io.open(folder .. "/" .. user);
	if not file then return usual, usual_credentials; end
	local url, credentials = file:read("*l", "*l");
	file:close();
	return url, credentials;
end

local function ask(what, parameters)
	local url, credentials = place(parameters.user);
	if not url then return nil; end
	parameters.server = host;
	local wait, done = async.waiter();
	local body, code;
	local options = { headers = { Authorization = credentials and "Basic " .. base64(credentials) } };
	http.request(url .. "/" .. what .. "?" .. http.formencode(parameters), options, function (b, c)
		body, code = b, c;
		done();
	end);
	wait();
	module:log("info", "%s of %s: %s %s", what, parameters.user, tostring(code), tostring(body));
	return code == 200 and body == "true";
end

local provider = {};

function provider.test_password(username, password)
	return ask("check_password", { user = username, pass = password }) or nil, "not right";
end

function provider.user_exists(username)
	return ask("user_exists", { user = username }) or nil, "not there";
end

function provider.users() return function () end; end
function provider.set_password() return nil, "not here"; end
function provider.create_user() return nil, "not here"; end
function provider.delete_user() return nil, "not here"; end

function provider.get_sasl_handler()
	return new_sasl(host, {
		plain_test = function (_, username, password)
			return provider.test_password(username, password), true;
		end;
	});
end

module:provides("auth", provider);
