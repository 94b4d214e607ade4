"""What the site shows and takes."""

import pathlib
import re

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.db import transaction
from django.shortcuts import redirect, render
from django.urls import path, re_path
from django.views.decorators.http import require_POST
from django.views.static import serve

from . import chat
from .models import Friendship, friends_of

PAGE = pathlib.Path(settings.BASE_DIR).parent / "page"


def show(request, wrong=""):
    """Of somebody who is not logged in, the forms for that."""
    user = request.user
    if not user.is_authenticated:
        return render(request, "login.html", {"wrong": wrong})
    online = chat.who_is_online()
    friends = [(friend, name, friend in online) for friend, name in friends_of(user.username).items()]
    return render(request, "friends.html", {"wrong": wrong, "user": user, "friends": friends})


@require_POST
def join(request):
    username, password = request.POST["username"], request.POST["password"]
    if not re.fullmatch("[a-z0-9-]{1,30}", username) or not password:
        return show(request, "A username has small letters and digits, and there has to be a password.")
    if User.objects.filter(username=username).exists():
        return show(request, "That username is taken.")
    name = request.POST["name"] or username
    auth.login(request, User.objects.create_user(username, password=password, first_name=name))
    return redirect("/")


@require_POST
def login(request):
    user = auth.authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return show(request, "That is not right.")
    auth.login(request, user)
    return redirect("/")


@require_POST
def logout(request):
    username = request.user.username
    auth.logout(request)
    if username:
        chat.end(username)
    return redirect("/")


def change_friendship(request, change):
    """Both ways, in one transaction; the gateway is told when it is over."""
    friend = User.objects.filter(username=request.POST["username"]).exclude(pk=request.user.pk).first()
    if not request.user.is_authenticated or friend is None:
        return show(request, "There is nobody of that name.")
    with transaction.atomic():
        for one, other in [(request.user, friend), (friend, request.user)]:
            change(one, other)
        chat.friends_changed(request.user.username, friend.username)
    return redirect("/")


@require_POST
def add(request):
    return change_friendship(request, lambda one, other: Friendship.objects.get_or_create(member=one, friend=other))


@require_POST
def remove(request):
    return change_friendship(request, lambda one, other: Friendship.objects.filter(member=one, friend=other).delete())


urlpatterns = [
    path("", show),
    path("join", join),
    path("login", login),
    path("logout", logout),
    path("add", add),
    path("remove", remove),
    path("chat-credentials", chat.credentials),
    path("contacts/<str:username>", chat.contacts),
    path("chat-events", chat.events),
    # Better left to the web server.
    re_path(r"^(?P<path>chat\.html|chat\.js|node_modules/.+)$", serve, {"document_root": PAGE}),
]
