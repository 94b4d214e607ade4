"""What the site of docs/site.md has besides: members, friends, a cookie."""

import sys

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF="site_of_yours",
    SECRET_KEY="of the tests",
    USE_TZ=True,
)
# Run as a program, it is known by two names; the settings are made once.
sys.modules["site_of_yours"] = sys.modules[__name__]

import django
from django.core.management import call_command

django.setup()

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path

friends = {}
banned = set()


def friends_of(username):
    return friends.get(username)


def is_banned(user):
    return user.username in banned


import chat


def enter(request):
    user, _ = User.objects.get_or_create(username=request.POST["user"])
    login(request, user)
    return HttpResponse()


def befriend(request):
    one, other = request.POST["one"], request.POST["other"]
    with transaction.atomic():
        friends.setdefault(one, {})[other] = "Friend of One"
        friends.setdefault(other, {})[one] = "Friend of Other"
        chat.friends_changed(one, other)
    return HttpResponse()


def ban(request):
    banned.add(request.POST["user"])
    chat.end(request.POST["user"])
    return HttpResponse()


urlpatterns = [
    path("enter", enter),
    path("befriend", befriend),
    path("ban", ban),
    path("online", lambda request: JsonResponse(chat.who_is_online(), safe=False)),
    path("chat-credentials", chat.credentials),
    path("contacts/<str:username>", chat.contacts),
    path("chat-events", chat.events),
]

call_command("migrate", verbosity=0)
call_command("runserver", f"127.0.0.1:{sys.argv[1]}", use_reloader=False)
