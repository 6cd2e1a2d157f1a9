# Everything here is a Debian package; tools/install_packages.sh names them.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Boost REQUIRED)             # Asio and Beast, headers alone
find_package(prometheus-cpp REQUIRED)
find_package(Eigen3 REQUIRED NO_MODULE)  # linear algebra of quantization, headers alone
set(BLA_VENDOR OpenBLAS)                 # what Eigen multiplies with: it takes the processor's vectors at run time
find_package(BLAS REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
add_library(libzip::zip ALIAS PkgConfig::LIBZIP)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
find_file(LOCI_CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js REQUIRED NO_DEFAULT_PATH
          DOC "Chart.js 3, which draws the evaluation's report (Debian: libjs-chart.js)")
