"""What the chat needs. `friends_of` is the site's own."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .models import friends_of

GATEWAY = os.environ.get("CHAT_GATEWAY", "http://127.0.0.1:5290/roster_admin")


def ask(method, path, body=None, **headers):
    """Asks the gateway; gives the status and the answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(GATEWAY + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 503, {"message": "the chat is not there"}


def is_gateway(request):
    said = request.headers.get("Authorization", "")
    return constant_time_compare(said, "Bearer " + os.environ["CHAT_SECRET"])


@never_cache
def credentials(request):
    """GET /chat-credentials, for the page. Who is banned (is_active=False) is not logged in."""
    if not request.user.is_authenticated:
        return HttpResponse(status=403)
    status, answer = ask("POST", "/token", {"username": request.user.username})
    return JsonResponse(answer, status=status)


def contacts(request, username):
    """GET /contacts/USER, for the gateway: path("contacts/<str:username>", contacts)"""
    friends = friends_of(username)  # their names by username; None if there is no such member
    if not is_gateway(request):
        return HttpResponse(status=401)
    if friends is None:
        return HttpResponse(status=404)
    return JsonResponse({
        f"{friend}@example.org": {"name": name, "groups": ["Friends"]} for friend, name in friends.items()
    })


def friends_changed(*usernames):
    """To be called within the transaction: these members have other friends now.

    A single worker must not wait for the answer: the gateway will ask it for the lists.
    """
    transaction.on_commit(lambda: ask("POST", "/refresh", list(usernames), Prefer="respond-async"))


@csrf_exempt
def events(request):
    """POST /chat-events, from the gateway; of several gateways, each says ?gateway= in its events_url.

    The cache has to be one for all workers; a table will do as well.
    """
    if not is_gateway(request):
        return HttpResponse(status=401)
    # Several gateways send at the same time.
    while not cache.add("chat-turn", True, timeout=30):
        time.sleep(0.05)
    try:
        return take(request.GET.get("gateway"), json.loads(request.body))
    finally:
        cache.delete("chat-turn")


def take(gateway, events):
    last, online = known()
    for event in events:
        if event["id"] <= last.get(gateway, 0):
            continue  # it has come before
        last[gateway] = event["id"]
        if event["type"] == "online":
            online[event["user"]] = event["at"]
        elif event["type"] == "offline":
            online.pop(event["user"], None)
        elif event["type"] == "reset":
            online = {}
        elif event["type"] == "gap":
            everybody = ask_who_is_online()
            if everybody is None:
                return HttpResponse(status=503)  # the gateway sends it again
            last, online = last | everybody[0], everybody[1]
    cache.set("chat", (last, online), timeout=None)
    return HttpResponse(status=204)


def ask_who_is_online():
    """As of which event, if there is one gateway, and who. Of more than 1,000, ask for the rest by after="""
    status, answer = ask("GET", "/presence?limit=1000")
    if status != 200:
        return None
    last = {None: answer["event"]} if answer["event"] else {}
    return last, {user: one.get("since", "") for user, one in answer["users"].items()}


def known():
    """The last event of each gateway, and who is online. The gateway knows, if the cache does not, as after a restart."""
    if cache.get("chat") is None and (everybody := ask_who_is_online()):
        cache.add("chat", everybody, timeout=None)
    return cache.get("chat", ({}, {}))


def who_is_online():
    return sorted(known()[1])


def end(username):
    """This member is banned, or has logged out: to be called within the transaction."""
    path = "/sessions?user=" + urllib.parse.quote(username, safe="")
    transaction.on_commit(lambda: ask("DELETE", path))
