# SPDX-License-Identifier: BSL-1.0
# Pretends to be a Boost that Procyard was not built with.
set(Boost_VERSION 1.99.0)
set(Boost_VERSION_STRING 1.99.0)
add_library(Boost::headers INTERFACE IMPORTED)
