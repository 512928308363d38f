"""The paths of the stand-in; any other path gets Django's 404 page."""

from django.http import HttpResponse
from django.urls import path

from tests.legacy.api import api


async def health(request):
    return HttpResponse("Ok")


urlpatterns = [path("health/", health), path("", api.urls)]
